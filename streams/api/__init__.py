"""The HTTP API and its page: reads, scores, ingest and erasure. It imports no worker and no command, keeps no state."""
