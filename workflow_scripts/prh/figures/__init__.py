"""Style and captions shared by all figures. Never imports torch, so that drawing jobs start quickly."""
