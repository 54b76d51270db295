"""Measurements and proofs that take longer than a test may. Each prints what it saw; none is run by `make test`."""
