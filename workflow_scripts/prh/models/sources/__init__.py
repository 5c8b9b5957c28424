"""The workflow's own sources of models, a file each: see `prh.downloads.sources`."""
