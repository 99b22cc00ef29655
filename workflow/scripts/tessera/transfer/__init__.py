"""Probes scored on other data sets. It touches labels and features in memory, and writes nothing."""
