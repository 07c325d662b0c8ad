"""Running it all: the embedded stack, the demo, and what measures and checks the repository itself."""
