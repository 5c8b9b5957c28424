"""Programs that try every architecture family a library lists: ``python -m tests.sweep language [--slice 1/4]``."""

import importlib
import sys

if __name__ == "__main__":
    importlib.import_module(f"tests.sweep.{sys.argv[1]}").main(sys.argv[2:])
