"""One worker process: what it owns, what it acknowledges, how well it is. The path itself stands in `pipeline/`."""
