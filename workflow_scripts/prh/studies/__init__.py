"""Studies: a table and its statistics for each question."""
