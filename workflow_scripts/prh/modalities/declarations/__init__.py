"""The modalities of the workflow itself, a file each."""
