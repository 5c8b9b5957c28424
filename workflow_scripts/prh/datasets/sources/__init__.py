"""The workflow's own sources of data sets, one file each; see `prh.downloads.sources`."""
