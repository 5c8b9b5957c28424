"""Tasks of EleutherAI's lm-eval on a language model, and the scores in its results file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prh.competence import causal_models, scores
from prh.competence.causal_models import fitting_batch
from prh.competence.harness_proofs import proving
from prh.competence.harness_tasks import task_settings
from prh.competence.scores import Scored
from prh.io import files
from prh.jobs.about import about
from prh.modalities import language
from prh.models import memory

if TYPE_CHECKING:
    from prh.experiment.schema import HarnessTask, LanguageModel

log = logging.getLogger(__name__)

PROMPT = 1024
"""Tokens of a question of lm-eval with its examples; few questions are longer."""


def run_harness(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    *,
    include_path: str | Path | None = None,
    data: str | Path | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    name: str = "",
    out_json: str | Path,
) -> dict:
    """Run ``tasks`` of EleutherAI's lm-eval, ``hf`` backend, on a model; keep its results JSON.

    include_path: a folder of task YAML files (offline: ``dataset_path: json`` with local ``data_files``).
    data: a folder with the files of the data set that lm-eval's own task would load from the hub, read instead.
    num_fewshot: examples in the prompt (None: the task's own number). limit: first documents of each task only.
    batch_size: sequences in a batch, halved when memory runs out; the tasks then start over. None: as many sequences of
    PROMPT tokens as fit.
    name: of the model, for messages.
    Returns what is written to ``out_json``: lm-eval's own results without the individual samples.
    Raises ValueError for a task that lm-eval does not know, and ModelError where the tokenizer does not know its
    questions (`prh.models.tokenizer_proofs`).
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    own = None if include_path is None else os.fspath(include_path)
    manager = TaskManager(include_path=own, include_defaults=own is None)  # reading lm-eval's own tasks takes 10 s
    unknown = sorted(set(tasks) - set(manager.all_tasks))
    if unknown or not tasks:
        where = f" and {include_path}" if include_path else ""
        raise ValueError(f"lm-eval {lm_eval.__version__}{where} has no task {', '.join(unknown) or '(none given)'}.")

    def evaluate(size: int) -> dict:
        return lm_eval.simple_evaluate(
            model=proving(HFLM, name)(pretrained=model, tokenizer=tokenizer, batch_size=size),
            tasks=[task if data is None else task_settings(manager, task) | _read_from(data) for task in tasks],
            num_fewshot=num_fewshot,
            limit=limit,
            task_manager=manager,
            log_samples=False,
        )

    tokens = min(language.longest_text(model) or PROMPT, PROMPT)
    results, _ = memory.halving(evaluate, fitting_batch(model, tokens) if batch_size is None else batch_size)
    files.write_json(out_json, results, sort_keys=True, default=str)
    return files.read_json(out_json)


def score_task(
    entry: LanguageModel,
    root: str | Path | None,
    task: HarnessTask,
    path: Path,
    out_json: Path,
    *,
    device: str = "cpu",
    batch_size: int | None = None,
) -> Scored:
    """Scores of the model of an entry on a task of lm-eval, whose results are kept in ``out_json``.

    Parameters
    ----------
    entry : prh.experiment.schema.LanguageModel
        The model.
    root : path or None
        Where its weights lie; None for random ones.
    task : prh.experiment.schema.HarnessTask
        Name of the task, examples in its prompt, and how many documents are scored.
    path : Path
        What its download wrote: the task file, or, for one of lm-eval's own, a file beside the folder ``data``.
    out_json : Path
        lm-eval's results, or why there are none, to write.
    device : str
        Where the model computes.
    batch_size : int, optional
        Sequences in a batch; by default as many as fit.

    Returns
    -------
    Scored
        No row for a model that turns out not to be causal, unless its entry says that it is.

    Raises
    ------
    ValueError, ModelError, NotCausal
        See `run_harness` and `prh.competence.causal_models.load_causal`.
    """
    try:
        loaded = causal_models.load_causal(entry, root, device)
    except causal_models.NotCausal as error:
        reason = causal_models.reason_not_scored(error, entry)
        files.write_json(out_json, {"results": {}, "not_scored": reason})
        return scores.not_scored(reason)
    own = task.source == "lm_eval"
    with about(f"model {entry.name!r}"), about(f"task {task.name!r}"):
        run_harness(
            loaded.model,
            loaded.tokenizer,
            [task.name],
            include_path=None if own else path.parent,
            data=path.parent / "data" if own else None,
            num_fewshot=task.shots,
            limit=task.limit,
            batch_size=loaded.batch_size(batch_size),
            name=entry.name,
            out_json=out_json,
        )
    rows = harness_scores(out_json)
    log.info("%s on %s:\n%s", entry.name, task.name, rows)
    return scores.measured(rows.with_columns(model=pl.lit(entry.name)), selftest=loaded.selftest.as_footer())


def _read_from(data: str | Path) -> dict:
    return {"dataset_path": os.fspath(data), "dataset_kwargs": None}


def harness_scores(results: Mapping | str | Path) -> pl.DataFrame:
    """Scores in an lm-eval results JSON: one row per (task, metric).

    Columns: task, metric (with the filter, as in ``exact_match,strict-match``, unless it is ``none``), value, stderr
    (null where lm-eval gives none), n (documents scored), version (of the task), shots (few-shot examples).
    Raises ValueError for a file that is not an lm-eval result.
    """
    name = "The results"
    if not isinstance(results, Mapping):
        name = str(results)
        results = files.read_json(results)
    if not results.get("results"):
        raise ValueError(f"{name} holds no lm-eval results (no entry `results`); run the harness again.")
    rows = [row for task in results["results"] for row in _task_rows(results, task)]
    return pl.DataFrame(rows, schema=_HARNESS_SCHEMA).sort("task", "metric")


_HARNESS_SCHEMA = {
    "task": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "n": pl.Int64,
    "version": pl.String,
    "shots": pl.Int64,
}


def _task_rows(results: Mapping, task: str) -> Iterator[dict]:
    entry = results["results"][task]
    version = results.get("versions", {}).get(task)
    for key, value in entry.items():
        metric, _, kind = key.partition(",")
        if not kind or metric.endswith("_stderr"):
            continue
        stderr = entry.get(f"{metric}_stderr,{kind}")
        yield {
            "task": task,
            "metric": metric if kind == "none" else key,
            "value": float(value),
            "stderr": float(stderr) if isinstance(stderr, (int, float)) else None,
            "n": results.get("n-samples", {}).get(task, {}).get("effective"),
            "version": None if version is None else str(version),
            "shots": results.get("n-shot", {}).get(task),
        }
