"""The modalities of the workflow itself, one file each."""
