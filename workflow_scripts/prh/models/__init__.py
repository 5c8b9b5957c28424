"""Models: where their weights lie, and how they are loaded and proved."""
