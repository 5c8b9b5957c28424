"""Features: every layer of a model for every sample of a data set."""
