"""The routes: parameters in, answer out. A module is named as the one of `streams.api` that does its work."""
