"""The terminal: one module a command, and what they share. It holds no rules of its own: rooms below it do the work."""
