"""Probes: selection, fit, scores, verdicts. It touches labels and features in memory (scikit-learn), and no model."""
