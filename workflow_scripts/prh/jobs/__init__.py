"""Everything around the work of a program: log, error messages, progress, devices, timings. Never affects results."""
