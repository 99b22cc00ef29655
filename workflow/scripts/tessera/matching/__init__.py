"""Latents of two SAEs matched, and probes carried over. It reads features, shards and cells, and no weights."""
