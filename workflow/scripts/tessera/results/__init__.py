"""Cells merged into tables, and what they say. It reads what cells left and writes tables, and fits nothing."""
