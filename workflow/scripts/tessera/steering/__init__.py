"""Directions to steer a model along, subspaces to erase from it, and what either did. It reads labels, and no torch."""
