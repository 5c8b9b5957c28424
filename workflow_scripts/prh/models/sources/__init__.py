"""The workflow's own sources of models, one file each; see `prh.downloads.sources`."""
