"""What strangers may send: configurations and files that are wrong in every way that could be thought of.

    python -m tests.attack --mutants 20000 --seed 1     try more than the tests do, and print the counts

The rule is one: an experiment runs as it is written, or there is one sentence that says what is wrong and where.
"""
