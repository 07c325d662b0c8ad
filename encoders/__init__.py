"""Models: found, loaded, run, pooled, exported. What runs inside Triton; it imports nothing of `streams`."""
