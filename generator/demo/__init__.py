"""The embedded default run: small models, their corpus, and the recipe that makes them."""
