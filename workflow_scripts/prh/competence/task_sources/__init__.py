"""The workflow's own sources of lm-eval's tasks, a file each: see `prh.downloads.sources`."""
