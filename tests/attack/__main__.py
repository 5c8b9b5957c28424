"""Try more than the tests do, and print the counts: python -m tests.attack --mutants 20000 --seed 1"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.attack import configurations, damage, kinds_of_models, kinds_of_results, kinds_of_sources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=20_000, help="changed experiments")
    parser.add_argument("--damages", type=int, default=3, help="seeds of the damages of each kind of file")
    parser.add_argument("--rows", action="store_true", help="print every damaged file and what became of it")
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
        kinds = [kind for module in (kinds_of_results, kinds_of_sources, kinds_of_models) for kind in module.kinds()]
        counts, bad = Counter(), 0
        for row in damage.attack(
            Path(folder, "damage"), kinds, range(arguments.seed, arguments.seed + arguments.damages)
        ):
            counts[row.outcome] += 1
            bad += row.is_wrong
            if row.is_wrong or arguments.rows:
                print(row)
        listed = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
        print(
            f"{len(kinds)} kinds of files, {len(damage.DAMAGES)} damages and those of another model, data set or setting, "
            f"{counts.total():,} cells in {time.monotonic() - started:.0f} s: {listed}"
        )
        raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
