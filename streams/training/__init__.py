"""A log as arrays to train on, and the training of a model on it, written to a folder with a card that says how good.

Nothing here talks to Kafka or Qdrant, and nothing here is served.
"""
