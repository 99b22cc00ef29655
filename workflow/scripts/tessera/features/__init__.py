"""Kinds of features, a file each, and their registry. It reads shards and examples, and fits no label."""
