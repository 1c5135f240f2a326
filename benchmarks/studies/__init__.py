"""Published studies, each a TOML file beside this one and one command: `python -m benchmarks.study NAME --data DIR`."""
