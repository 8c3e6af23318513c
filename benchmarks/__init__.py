"""Benchmarks: this package and its baselines, interleaved in one process; answers are compared too."""
