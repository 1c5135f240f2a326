"""Benchmarks: each `python -m benchmarks.<stem> --json` prints one JSON object."""
