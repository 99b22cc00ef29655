"""The config checked and filled, the grid and its paths. It reads files of config alone: no data, no weights."""
