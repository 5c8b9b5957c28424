"""Alignment: one model's row of the matrix, and the table of best layer pairs."""
