"""Tasks: recorded with their submissions, moved step by step, looked up and listed."""
