"""Banks: folders of results against whose models something new is scored."""
