"""A finished study as objects, for notebooks. It reads results, and writes nothing."""
