"""The idealised world, whose true kernel is known, and the models that learn it."""
