"""SAEs: prepared, trained, encoded with. It touches their weights and the GPU (torch), and residuals of a model."""
