"""From texts to vectors, through Triton: the only room that talks to it. What is encoded is decided elsewhere."""
