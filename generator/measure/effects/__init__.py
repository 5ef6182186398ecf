"""What a channel does that only the model can tell: its direct effect on the logits, and where its activation comes from."""
