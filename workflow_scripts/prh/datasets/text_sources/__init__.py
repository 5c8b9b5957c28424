"""The workflow's own sources of texts, a file each: see `prh.downloads.sources`."""
