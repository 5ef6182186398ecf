"""From a model, an adapter and a corpus to activations: the part of Featurebook that needs torch."""
