"""``prh plan --configfile experiments/paper.yaml``: what an experiment will download, and what it will cost."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import yaml

from prh.command import failing_in_one_sentence
from prh.config import ConfigError, load
from prh.lockfile import lock_path
from prh.registries import expand


def main() -> None:
    parser = argparse.ArgumentParser(prog="prh", description=__doc__)
    commands = parser.add_subparsers(required=True)
    plan = commands.add_parser("plan", help="what an experiment will download and cost, estimated; nothing is run")
    plan.add_argument("--configfile", type=Path, default=Path("config.yaml"), help="experiment file")
    plan.add_argument("--tflops", type=float, help="what the device sustains, not its peak (default: measured here)")
    plan.add_argument("--bandwidth", type=float, default=50e6, help="bytes a second from the hub (default: 5e7)")
    network = plan.add_mutually_exclusive_group()
    network.add_argument("--offline", action="store_true", help="do not ask the hub for sizes")
    network.add_argument(
        "--online",
        action="store_true",
        help="look every source over by its metadata alone, a line each; ends with 1 if one is wrong",
    )
    plan.set_defaults(run=_plan)
    arguments = parser.parse_args()
    with failing_in_one_sentence(job=False):
        arguments.run(arguments)


def _plan(arguments: argparse.Namespace) -> None:
    from prh import costs, fetching, sources

    if not arguments.configfile.is_file():
        raise ConfigError(f"{arguments.configfile} does not exist.")
    try:
        raw = yaml.safe_load(arguments.configfile.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{arguments.configfile} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{arguments.configfile} is no experiment: it must hold keys such as datasets and models.")
    experiment = load(expand(raw))
    if arguments.online:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
        checked = sources.check(experiment, lock_path(arguments.configfile))
        print(sources.report(checked))
        raise SystemExit(any(source.problems for source in checked))
    online = not arguments.offline and fetching.is_reachable()
    print(costs.report(experiment, lock_path(arguments.configfile), online, arguments.tflops, arguments.bandwidth))


if __name__ == "__main__":
    main()
