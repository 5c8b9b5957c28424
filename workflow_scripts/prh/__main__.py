"""The command ``prh``: begin an experiment, estimate its cost, see its results, and score features against a bank."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

from prh.bank.places import BankError
from prh.downloads.lockfile import lock_path
from prh.experiment import starting
from prh.experiment.loading import ConfigError, load
from prh.experiment.registries import expand, read
from prh.experiment.schema import Experiment
from prh.io import addresses
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = argparse.ArgumentParser(prog="prh", description=__doc__)
    commands = parser.add_subparsers(required=True)
    plan = commands.add_parser("plan", help="estimate what an experiment will download and cost, without running it")
    plan.add_argument("--configfile", type=Path, default=Path("config.yaml"), help="experiment file")
    plan.add_argument("--tflops", type=float, help="sustained (not peak) speed of the device (default: measured here)")
    plan.add_argument("--bandwidth", type=float, default=50e6, help="bytes per second from the hub (default: 5e7)")
    plan.add_argument("--offline", action="store_true", help="do not query the hub for sizes")
    plan.add_argument(
        "--online",
        action="store_true",
        help="instead of costs, check from metadata that every source exists and can be read",
    )
    plan.add_argument(
        "--plugins", action="store_true", help="import the plugins of the experiment, which runs their code"
    )
    plan.set_defaults(run=_plan)
    init = commands.add_parser("init", help="write an experiment for a folder of images, texts or features")
    init.add_argument("folder", type=Path, nargs="?", default=Path(), help="where the data are (default: here)")
    init.add_argument("--force", action="store_true", help="replace an experiment file of that name")
    init.set_defaults(run=_init)
    workflow = commands.add_parser("workflow", help="print the path of the Snakefile, for snakemake -s")
    workflow.set_defaults(run=lambda _arguments: print(starting.workflow_folder() / "Snakefile"))
    score = commands.add_parser("score", help="how much features agree with every model of a bank")
    score.add_argument("features", type=Path, help="file of one or more layers (docs/own.md)")
    score.add_argument("--bank", required=True, help="results folder, or hub:owner/name@revision")
    score.add_argument("--dataset", help="data set of the bank, if it has several")
    score.add_argument("--metric", default="mutual_knn", help="how to compare (default: mutual_knn)")
    score.add_argument("--k", type=int, default=10, help="number of neighbours (default: 10)")
    score.add_argument("--permutations", type=int, default=200, help="size of the null; 0 for none (default: 200)")
    score.add_argument("--name", help="name of what is scored (default: that of the file)")
    score.set_defaults(run=_score)
    show = commands.add_parser("show", help="which models of a results folder agree most, and how sure that is")
    show.add_argument("results", type=Path, help="results folder of an experiment")
    show.add_argument("--model", help="only the pairs of this model")
    show.add_argument("--dataset", help="only this data set")
    show.add_argument("--metric", help="only this metric")
    show.set_defaults(run=_show)
    _add_bank(commands)
    arguments = parser.parse_args()
    with failing_in_one_sentence(job=False):
        arguments.run(arguments)


def _add_bank(commands: argparse._SubParsersAction) -> None:
    bank = commands.add_parser("bank", help="share a results folder on the hub, or fetch one to score against")
    actions = bank.add_subparsers(required=True)
    push = actions.add_parser("push", help="upload a results folder as a bank, after showing what that is")
    push.add_argument("results", type=Path, help="results folder of an experiment that has run")
    push.add_argument("repository", help="data set repository of the hub: owner/name")
    push.add_argument("--dataset", action="append", default=[], help="only this data set (repeatable)")
    push.add_argument("--features", action="store_true", help="also the features, for metrics that need them")
    push.add_argument("--captions", action="store_true", help="also the captions of the samples")
    push.add_argument("--images", action="store_true", help="also the images and captions of the samples")
    push.add_argument("--configfile", type=Path, help="experiment file, whose licences go into the data card")
    push.add_argument("--public", action="store_true", help="a public repository (default: private)")
    push.add_argument("--yes", action="store_true", help="do not ask")
    push.set_defaults(run=_push)
    pull = actions.add_parser("pull", help="download a bank; what is there already is kept")
    pull.add_argument("repository", help="owner/name or owner/name@revision")
    pull.add_argument("folder", type=Path, nargs="?", help="where to (default: the cache that hub:owner/name reads)")
    pull.add_argument("--features", action="store_true", help="also the features, if the bank has them")
    pull.set_defaults(run=_pull)


def _plan(arguments: argparse.Namespace) -> None:
    raw = expand(read(arguments.configfile), ".", starting.workflow_folder())
    if raw.get("plugins") and not arguments.plugins:
        raise ConfigError(
            f"{arguments.configfile} names plugins, which run code ({', '.join(map(str, raw['plugins']))}); read them, "
            "then pass --plugins."
        )
    experiment = load(raw)
    os.environ[addresses.ADDRESSES] = addresses.kept(experiment.urls())  # entries themselves are redacted
    if arguments.online:
        _check(experiment, lock_path(arguments.configfile))
        return
    from prh.downloads import hub
    from prh.experiment import costs

    online = not arguments.offline and hub.is_reachable()
    print(costs.report(experiment, lock_path(arguments.configfile), online, arguments.tflops, arguments.bandwidth))


def _init(arguments: argparse.Namespace) -> None:
    print(*starting.write(arguments.folder, force=arguments.force), sep="\n")


def _check(experiment: Experiment, lock: Path) -> None:
    """Print a line per source; exit with status 1 if any of them cannot be used."""
    from prh.experiment import online

    findings = online.check(experiment, lock)
    print(*findings, sep="\n")
    failed = sum(bool(finding.problems) for finding in findings)
    print(f"{len(findings)} sources, {failed} with a problem; nothing was fetched.")
    if failed:
        sys.exit(1)


def _score(arguments: argparse.Namespace) -> None:
    from prh.bank import feature_files, showing
    from prh.bank.folder import Bank
    from prh.bank.scoring import score

    layers, ids = feature_files.read(arguments.features)
    bank, name = Bank(arguments.bank, arguments.dataset), arguments.name or arguments.features.stem
    how = {key: getattr(arguments, key) for key in ("metric", "k", "permutations")}
    print(showing.scored(score(layers, bank, sample_ids=ids, name=name, **how), bank, name))


def _push(arguments: argparse.Namespace) -> None:
    from prh.bank import card, packing, pushing

    _log_no_requests()
    licences = {}
    if arguments.configfile:
        experiment = load(expand(read(arguments.configfile), ".", starting.workflow_folder()))
        licences = {one.name: one.licence for one in (*experiment.models, *experiment.datasets) if one.licence}
    with tempfile.TemporaryDirectory() as work:
        chosen = {key: getattr(arguments, key) for key in ("features", "captions", "images")}
        package = packing.pack(arguments.results, Path(work), datasets=arguments.dataset, **chosen)
        where = pushing.target(arguments.repository, public=arguments.public)
        readme = Path(work, packing.CARD)
        readme.write_text(card.card(package, where.repository, licences), encoding="utf-8")
        package.files[packing.CARD] = readme
        print(pushing.summary(package, where), flush=True)
        if not arguments.yes:
            if not sys.stdin.isatty():
                raise BankError("nothing was pushed: pass --yes to push this.")
            if input("Push this? Type yes: ").strip().lower() != "yes":
                print("Nothing was pushed.")
                return
        commit = pushing.push(package, where)
    print(f"pushed; score against it with: prh score features.npy --bank hub:{where.repository}@{commit}")


def _pull(arguments: argparse.Namespace) -> None:
    from prh.bank.pulling import pull

    _log_no_requests()
    print(pull(arguments.repository, arguments.folder, features=arguments.features))


def _log_no_requests() -> None:
    """Keep a line for every request of a long transfer out of the terminal, which shows its progress."""
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _show(arguments: argparse.Namespace) -> None:
    from prh.bank.showing import show

    print(show(arguments.results, model=arguments.model, dataset=arguments.dataset, metric=arguments.metric))


if __name__ == "__main__":
    main()
