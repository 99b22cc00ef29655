"""Evidence: which latents decide, on which words, how few suffice. It reads shards, features and cells, and no weights."""
