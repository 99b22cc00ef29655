"""Labelled examples: read, sampled, split. It touches the files of data sets, and no model."""
