"""The workflow's own sources of data sets, a file each: see `prh.downloads.sources`."""
