"""Reading and writing of files and Parquet tables, which are either complete or absent."""
