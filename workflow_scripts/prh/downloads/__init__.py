"""The only code that uses the network: sources that are pinned, checked and resumed."""
