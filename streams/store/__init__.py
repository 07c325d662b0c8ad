"""Where nodes and items live: the contract, Qdrant, a cache before it, and a fake that passes the same suite."""
