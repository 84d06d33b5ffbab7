"""Benchmarks, run by ``make bench``: figures of one run on this machine, never timed tests."""
