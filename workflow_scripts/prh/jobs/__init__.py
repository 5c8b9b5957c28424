"""What a program is wrapped in: command line, log, progress, devices, timings. Nothing here changes a number."""
