"""One process that learns what each feature of the score is worth, and measures every ranking while it runs."""
