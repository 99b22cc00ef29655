"""Models: loaded, run, tuned, asked. It touches weights and the GPU (torch), and no SAE."""
