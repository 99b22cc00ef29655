"""What every stage shares: errors, files, paths, progress. It touches files and logs, and nothing of a study."""
