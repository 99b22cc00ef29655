"""What a latent writes, and the model without it. It touches weights and the GPU (torch), and no label."""
