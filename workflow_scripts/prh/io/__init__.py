"""Files and Parquet tables: complete or absent, with a footer that says what made them."""
