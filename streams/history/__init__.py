"""What the log says up to a moment: its events folded once more, beside the live trees, to compare or to keep as files.

Nothing here writes to Kafka or Qdrant, and nothing reads them: records and stored nodes are handed in.
"""
