"""An idealised world whose true kernel is known, and small models trained on it: a test of the whole workflow."""
