"""The plan: what the rules of each stage ask of a study. Functions take the study and, by name, wildcards (strings)."""
