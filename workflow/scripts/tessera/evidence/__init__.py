"""Evidence: which latents decide, where they fire, how few suffice. It reads shards, features and cells, no weights."""
