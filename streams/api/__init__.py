"""The HTTP API: live trees, recommendations, explanations, audiences, ingest and erasure."""
