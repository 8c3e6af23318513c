"""Benchmarks: ours and the peers in the same run, interleaved, exactness checked beside the time."""
