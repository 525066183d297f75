"""Benchmarks: this toolkit and its peers, timed in turn in one process."""
