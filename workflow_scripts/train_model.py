"""Train a model in the idealised world, and record where its weights are."""

import shutil
from collections.abc import Collection
from pathlib import Path

import torch

from prh.experiment.arguments import ProgramParser
from prh.experiment.schema import Model, World
from prh.experiment.specs import Spec
from prh.io import files
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence
from prh.modalities import modality_of
from prh.world import idealised, training

PRELOAD = ["torch", "timm", "transformers.modeling_utils"]


KEPT = "steps"
"""The folder beside the weights of a model with those of its checkpoints."""


def _of_run(spec: Spec) -> Spec:
    """The spec of a training, the same for a model and its checkpoints."""
    model = {key: value for key, value in spec.settings["model"].items() if key not in ("name", "step")}
    return Spec({**spec.settings, "model": model}, spec.code)


def _taken(folder: Path, step: int, run: Path, training_of: str) -> bool:
    """Whether the weights of a step were kept by this very training and could be copied: they are the same then."""
    kept, spec = run / KEPT / str(step), run / KEPT / "spec"
    if not spec.is_file() or spec.read_text(encoding="utf-8") != training_of:
        return False
    if not training.is_kept(kept, step, run / "files"):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept, folder)
    return True


def _forget(kept: Path, wanted: Collection[Path]) -> None:
    """Remove what earlier trainings kept, perhaps with other code; what this one keeps again is written over."""
    (kept / "spec").unlink(missing_ok=True)
    for folder in set(kept.glob("*")).difference(wanted):
        shutil.rmtree(folder)


def main() -> None:
    parser = ProgramParser(__doc__, spec="modality, training and model_args; the world")
    parser.add_argument("--output", type=Path, required=True, help="weights.json to write")
    parser.add_argument("--keep", nargs="+", type=int, default=[], help="steps whose weights are kept on the way")
    parser.add_argument("--run", type=Path, help="folder of the model whose training passed through this checkpoint")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # weights are the same from run to run for one number of threads
    entry, folder = arguments.spec.entry("model", Model), arguments.output.parent / "files"
    training_of = str(_of_run(arguments.spec))
    if arguments.run is None or not _taken(folder, entry.step, arguments.run, training_of):
        world = idealised.build(**arguments.spec.entry("world", World).model_dump())
        keep = {step: arguments.output.parent / KEPT / str(step) for step in arguments.keep}
        _forget(arguments.output.parent / KEPT, keep.values())
        resolved(modality_of(entry).train)(world, folder, entry, keep=keep)
        if keep:
            (arguments.output.parent / KEPT / "spec").write_text(training_of, encoding="utf-8")
    weights = {
        "name": entry.name,
        "source": "world",
        "root": str(folder),
        "revision": None,
        "files": files.listing(folder),
    }
    files.write_json(arguments.output, weights)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
