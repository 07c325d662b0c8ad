"""How well the trees predict what people do next: logs replayed through the real fold, ranked before each event."""
