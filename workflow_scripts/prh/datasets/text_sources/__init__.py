"""The workflow's own sources of texts, one file each; see `prh.downloads.sources`."""
