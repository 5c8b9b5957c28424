"""Models that a function of the user's builds (``source: python``): it is run, and what it returns is checked.

Nobody else can say where the weights come from. What can be proved is that they are the same each time: two builds must
give the same features, so that weights which are drawn at random without a seed are refused.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prh.io.functions import module_from_file
from prh.models import factory_files
from prh.models.loading import parameter_count
from prh.models.repositories import ModelError, first_line
from prh.models.selftest import SAME_SHAPE, distance, rounding

if TYPE_CHECKING:
    from prh.experiment.schema import LanguageModel, VisionModel

WANTED = {"vision": ("transform", "a PIL image to a tensor [3, height, width]"),
          "language": ("tokenizer", "a list of texts to lists of token ids")}  # fmt: skip
"""What a factory returns beside the module, by modality, and what that maps."""

PROVED = "from the factory {}, equal in two builds"
"""What the self-test says of the weights."""

_imported: dict[Path, ModuleType] = {}


def build(entry: VisionModel | LanguageModel, root: Path | None) -> tuple[nn.Module, Callable[..., Any]]:
    """What the factory of an entry returns: a module, and its transform or tokenizer.

    The factory is called with the entry's ``factory_args`` and, if the entry has a ``path``, with ``path=root``. Raises
    ModelError if it is missing, fails (naming the file and line), or returns anything else.
    """
    about = f"model {entry.name!r}: its factory {entry.factory}"
    function, arguments = _function(entry.factory, about), dict(entry.factory_args)
    if root is not None:
        arguments["path"] = root
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        named = ", ".join(arguments) or "no arguments"
        raise ModelError(f"{about} does not take {named} ({error}); change 'factory_args'.") from None
    except ValueError:  # a function without a signature, such as one written in C
        pass
    built = _running(lambda: function(**arguments), about, factory_files.find(entry.factory))
    return _checked(built, entry.modality, about)


def _checked(built: object, modality: str, about: str) -> tuple[nn.Module, Callable[..., Any]]:
    name, mapping = WANTED[modality]
    if not isinstance(built, tuple) or len(built) != 2:
        raise ModelError(f"{about} returns {_named(built)}; it must return (module, {name}).")
    module, companion = built
    if not isinstance(module, nn.Module):
        raise ModelError(f"{about} returns {_named(module)} as its module, which is not a torch.nn.Module.")
    if not callable(companion) or (isinstance(companion, nn.Module) and parameter_count(companion)):
        raise ModelError(f"{about} returns {_named(companion)} as its {name}; it must be a function of {mapping}.")
    if not parameter_count(module):
        raise ModelError(f"{about} returns a {type(module).__name__} without parameters, so it has learned nothing.")
    if empty := next((key for key, value in module.named_parameters() if value.is_meta), None):
        raise ModelError(f"{about} leaves the weight {empty} on the meta device; load its weights.")
    return module, companion


def _named(value: object) -> str:
    """A value in a message: its type, and for a tuple the types in it."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"


def _function(factory: str, about: str) -> Callable[..., Any]:
    """The function that a factory names, from its module, which is imported once."""
    place, name = factory_files.split(factory)
    path = factory_files.find(factory)
    if path is None:
        raise ModelError(f"{about} is missing: there is no {place} (relative to {Path.cwd()}).")
    if path not in _imported:
        home = str(factory_files.home(path))
        if home not in sys.path:
            sys.path.insert(1, home)  # it may import what lies beside it
        is_file = place.endswith(".py")
        module = f"prh_factory_{len(_imported)}_{path.stem}"  # a name that no other module has
        _imported[path] = _running(
            lambda: module_from_file(path, module) if is_file else import_module(place), about, path
        )
    function = getattr(_imported[path], name, None)
    if not callable(function):
        raise ModelError(f"{about} is missing: {place} defines no function {name}.")
    return function


def _running(call: Callable[[], Any], about: str, path: Path | None) -> Any:
    """The result of the user's code. Raises ModelError, with the file and line of the code, if it fails."""
    try:
        return call()
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        line, step = "", error.__traceback__
        while step is not None and path is not None:
            file = Path(step.tb_frame.f_code.co_filename)
            if file.parent.resolve() == path.parent.resolve():
                line = f" at {file.name}, line {step.tb_lineno}"
            step = step.tb_next
        if isinstance(error, SyntaxError) and error.lineno:
            line = f" at {Path(error.filename or '').name}, line {error.lineno}"
        reason = f"{type(error).__name__}: {first_line(error, 'no reason given')}"
        raise ModelError(f"{about} fails{line} ({reason}).") from error


def require_finite(features: Sequence[Tensor], entry: Any) -> None:
    """Raise ModelError if what a model gives for plain input is NaN or infinite."""
    if not all(bool(torch.isfinite(layer).all()) for layer in features):
        raise ModelError(
            f"model {entry.name!r} gives NaN or infinite numbers for plain input; the weights that its factory loads "
            "are damaged, or need dtype: float32 or bfloat16."
        )


def require_same(first: Sequence[Tensor], second: Sequence[Tensor], entry: Any, dtype: torch.dtype) -> None:
    """Raise ModelError if what two builds of a factory give for one input differs by more than rounding."""
    shapes = [[tuple(layer.shape) for layer in layers] for layers in (first, second)]
    apart = distance(first, second) if shapes[0] == shapes[1] else float("inf")
    if apart > min(rounding(dtype), SAME_SHAPE):
        raise ModelError(
            f"model {entry.name!r}: two calls of its factory {entry.factory} give different features (by {apart:.2g} "
            "of their size), so some weights are drawn at random; load them, or seed them with torch.manual_seed."
        )


def on_meta(module: nn.Module) -> nn.Module:
    """A copy of ``module`` on the meta device, which takes no memory; in float32, as the images are that it is tried
    with.
    """
    stored = {}
    for value in (*module.parameters(), *module.buffers()):
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        empty = torch.empty_like(value, dtype=dtype, device="meta", requires_grad=False)
        is_parameter = isinstance(value, nn.Parameter)
        stored[id(value)] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
    return copy.deepcopy(module, stored)
