"""``prh plan --configfile experiments/paper.yaml``: what an experiment will download, and what it will cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from prh.command import failing_in_one_sentence
from prh.config import load
from prh.lockfile import lock_path
from prh.registries import expand, read


def main() -> None:
    parser = argparse.ArgumentParser(prog="prh", description=__doc__)
    commands = parser.add_subparsers(required=True)
    plan = commands.add_parser("plan", help="what an experiment will download and cost, estimated; nothing is run")
    plan.add_argument("--configfile", type=Path, default=Path("config.yaml"), help="experiment file")
    plan.add_argument("--tflops", type=float, help="what the device sustains, not its peak (default: measured here)")
    plan.add_argument("--bandwidth", type=float, default=50e6, help="bytes a second from the hub (default: 5e7)")
    plan.add_argument("--offline", action="store_true", help="do not ask the hub for sizes")
    plan.set_defaults(run=_plan)
    arguments = parser.parse_args()
    with failing_in_one_sentence(job=False):
        arguments.run(arguments)


def _plan(arguments: argparse.Namespace) -> None:
    from prh import costs, fetching

    experiment = load(expand(read(arguments.configfile)))
    online = not arguments.offline and fetching.is_reachable()
    print(costs.report(experiment, lock_path(arguments.configfile), online, arguments.tflops, arguments.bandwidth))


if __name__ == "__main__":
    main()
