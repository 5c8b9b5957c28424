"""Competence: what a model can do, by probes, bits per byte and lm-eval."""
