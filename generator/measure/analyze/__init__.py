"""How a model's representation behaves from layer to layer, and what its heads, predictions and adapter do."""
