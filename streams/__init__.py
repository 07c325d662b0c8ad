"""Every user's interests as live vectors. docs/architecture.md shows the rooms and who may import whom."""
