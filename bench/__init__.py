"""Benchmarks: each figure is a ratio to a ceiling that is measured beside it, in turns, in the same run.

A benchmark starts everything it needs (PostgreSQL with fsync on, the service, stand-ins, load) as processes of its own
on loopback and ends them. After each round it checks that nothing was lost and nothing was done twice.
"""
