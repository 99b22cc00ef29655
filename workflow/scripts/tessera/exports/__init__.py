"""What leaves a study: probes that stand alone, latents for Neuronpedia. It scores new texts (torch), fits nothing."""
