"""The explorer: a study as one page that opens offline. It reads tables and examples, and computes no result."""
