"""Benchmarks: each figure is a ratio against a ceiling that is measured beside it, in turns, within one run.

They start all that they need (PostgreSQL with fsync on, the service, sinks, load) as processes of their own on
loopback, end it all, and check after each round that nothing was lost and nothing made twice.
"""
