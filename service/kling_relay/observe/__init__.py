"""Seeing inside: metrics, logs and traces, a layer just above the core. Flows are told callables, never loggers."""
