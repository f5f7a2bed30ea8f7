"""Speaker embeddings: whether two calls are by one voice."""
