"""Downloads, the only code that uses the network: sources are pinned, checked, and resumed after an interruption."""
