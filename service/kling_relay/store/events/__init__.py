"""The event log: written by the statements that make events, read in the order of their transactions."""
