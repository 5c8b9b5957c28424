"""The sources of the workflow itself, a file each. What is slow to import is imported when a source is used."""
