"""Public fakes and conformance suites. Everything in here that pretends says so by its name."""
