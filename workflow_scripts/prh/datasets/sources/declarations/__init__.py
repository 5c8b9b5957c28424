"""The sources of the workflow itself, one file each; slow modules are imported only when a source is used."""
