"""What decides the order of items: feature rows, and weights that learn from them. Pure: no server, clock, settings."""
