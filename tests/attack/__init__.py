"""Attacks on the running stack: `python -m tests.attack`, `make attack`; the short form is part of `make test`."""
