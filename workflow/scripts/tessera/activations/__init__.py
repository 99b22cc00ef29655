"""From examples to activations: one pass of a model. It touches the GPU (torch), and writes shards."""
