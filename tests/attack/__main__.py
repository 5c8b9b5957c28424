"""Try more than the tests do, and print the counts: python -m tests.attack --mutants 20000 --seed 1"""

import argparse
import tempfile
import time
from pathlib import Path

from tests.attack import configurations, damage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=20_000, help="changed experiments")
    parser.add_argument("--damages", type=int, default=3, help="seeds of the damages of each kind of file")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        counts = configurations.attack(Path(folder, "configurations"), arguments.mutants, arguments.seed)
        listed = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
        print(
            f"{arguments.mutants:,} changed experiments in {time.monotonic() - started:.0f} s: {listed}, no other error"
        )
        started = time.monotonic()
        rows = damage.attack(Path(folder, "damage"), range(arguments.seed, arguments.seed + arguments.damages))
        for row in rows:
            print(row)
        bad = sum(row.verdict.startswith("WRONG") for row in rows)
        print(
            f"{len(rows)} damaged files in {time.monotonic() - started:.0f} s: {len(rows) - bad} as they should, {bad} not"
        )
        raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
