"""Figures and pages. It touches tables alone (matplotlib), and computes no result."""
