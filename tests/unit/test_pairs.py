"""Which row holds which pair of models, through any sequence of edits of an experiment."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prh.experiment.pairs import partners

EDITS = ["insert", "remove", "come back", "move", "rename", "code", "setting", "delete a row", "delete tables"]


class Results:
    """The rows of earlier runs: the models of each, and the versions of the code and of the tables they are made of."""

    def __init__(self):
        self.models, self.code, self.version, self.tables, self.rows = [], 0, {}, {}, {}

    def held(self):
        """What the footers of the rows say that can stay as they are."""
        return {
            model: row["others"]
            for model, row in self.rows.items()
            if row["code"] == self.code and model in self.models and all(
                self.tables.get(name) == version and (name not in self.models or version == self.version[name])
                for name, version in row["of"].items()
            )
        }  # fmt: skip

    def run(self, some=None):
        """Make the rows that a run would make (of ``some`` models, if it is killed), and return their models."""
        held, decided = self.held(), partners(self.models, self.held())
        made = [model for model in self.models if model not in held or set(held[model]) != set(decided[model])]
        finished = made if some is None else made[:some]
        self.tables |= {name: self.version[name] for name in self.models}
        for model in finished:
            of = {name: self.tables[name] for name in (model, *decided[model])}
            self.rows[model] = {"others": decided[model], "of": of, "code": self.code}
        return made


def edit(results, kind, place, other, fresh):
    """One edit of the list of models, of a model or of the code."""
    models = results.models
    place, other = place % (len(models) + 1), other % (len(models) + 1)
    if kind in ("insert", "come back"):
        gone = sorted(set(results.version).difference(models)) if kind == "come back" else []
        name = gone[other % len(gone)] if gone else fresh
        models.insert(place, name)
        results.version.setdefault(name, 0)
    elif kind == "code":
        results.code += 1
    elif models:
        name = models[place % len(models)]
        if kind == "remove":
            models.remove(name)
        elif kind == "move":
            models.remove(name)
            models.insert(other, name)
        elif kind == "rename":
            models[models.index(name)] = fresh
            results.version[fresh] = 0
        elif kind == "setting":
            results.version[name] += 1
        elif kind == "delete a row":
            results.rows.pop(name, None)
        elif kind == "delete tables":
            results.tables.pop(name, None)


def assert_each_pair_once(results):
    """A reader finds each pair in the row of the later model, or else in that of the earlier one."""
    for earlier, later in combinations(results.models, 2):
        found = [name for name, other in ((later, earlier), (earlier, later)) if other in results.rows[name]["others"]]
        assert found, f"no row holds {earlier} and {later}"
    for model in results.models:
        others = results.rows[model]["others"]
        assert model not in others
        assert len(set(others)) == len(others)


STEPS = st.lists(
    st.tuples(st.sampled_from(EDITS), st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 3)), max_size=14
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 6), STEPS)
def test_every_pair_is_in_a_row_and_a_second_start_makes_nothing(count, steps):
    results = Results()
    for number in range(count):
        edit(results, "insert", number, 0, f"m{number}")
    results.run()
    for number, (kind, place, other, killed_after) in enumerate(steps):
        edit(results, kind, place, other, f"new{number}")
        before, held = dict(results.rows), results.held()
        made = results.run(some=killed_after)
        assert all(results.rows.get(model) is before[model] for model in held if model not in made)
        results.run()
        assert_each_pair_once(results)
        assert results.run() == []


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 7), st.lists(st.tuples(st.sampled_from(["insert", "move", "remove", "rename"]),
                                             st.integers(0, 9), st.integers(0, 9)), max_size=10))  # fmt: skip
def test_an_edit_of_the_list_makes_only_the_rows_of_new_models(count, edits):
    results = Results()
    for number in range(count):
        edit(results, "insert", number, 0, f"m{number}")
    results.run()
    for number, (kind, place, other) in enumerate(edits):
        known = set(results.models)
        edit(results, kind, place, other, f"new{number}")
        assert results.run() == [model for model in results.models if model not in known]


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.data())
def test_what_is_decided_is_decided_again_while_rows_are_being_made(models, data):
    """Jobs are started one after the other; had they no record of the decision, new models would not change it."""
    held = {}
    for model in models:
        others = data.draw(st.none() | st.just(tuple(models[: models.index(model)])), label=model)
        held |= {} if others is None else {model: others}
    decided = partners(models, held)
    finished = data.draw(st.sets(st.sampled_from(models)) if models else st.just(set()))
    assert partners(models, held | {model: decided[model] for model in finished}) == decided


@pytest.mark.parametrize(
    ("models", "held", "expected"),
    [
        ("abc", {}, {"a": "", "b": "a", "c": "ba"}),
        ("xabc", {"a": "", "b": "a", "c": "ba"}, {"x": "abc", "a": "", "b": "a", "c": "ba"}),
        ("abxc", {"a": "", "b": "a", "c": "ba"}, {"a": "", "b": "a", "x": "bac", "c": "ba"}),
        ("axc", {"a": "", "b": "a", "c": "ba"}, {"a": "", "x": "ac", "c": "ba"}),  # b renamed: c keeps it
        ("cab", {"a": "", "b": "a", "c": "ba"}, {"c": "ba", "a": "", "b": "a"}),
        ("axyb", {"a": "", "b": "a"}, {"a": "", "x": "ab", "y": "xab", "b": "a"}),
        # b comes back after c and d have been made without it: its row is made again, not both of theirs
        ("abcd", {"a": "", "b": "a", "c": "a", "d": "ca"}, {"a": "", "b": "acd", "c": "a", "d": "ca"}),
        ("ab", {"a": "", "b": ""}, {"a": "", "b": "a"}),
    ],
)
def test_examples(models, held, expected):
    assert partners(list(models), held) == {model: tuple(others) for model, others in expected.items()}


@given(st.lists(st.sampled_from("abcd"), unique=True), st.lists(st.sampled_from("xyz"), unique=True), st.data())
def test_pairs_that_nobody_wants_are_in_no_new_row(models, checkpoints, data):
    """Checkpoints are compared with some models and not with each other; a new model takes those that lack it."""

    def is_wanted(earlier, later):
        return earlier in "abcd" and (later in "abcd" or earlier in "ab")

    names = [*models, *checkpoints]
    first = partners(names, {}, is_wanted)
    new = data.draw(st.sampled_from(models)) if models else None
    held = {name: tuple(set(others) - {new}) for name, others in first.items() if name != new}
    then = partners(names, held, is_wanted)
    for earlier, later in combinations(names, 2):
        for decided in (first, then):
            assert (earlier in decided[later]) + (later in decided[earlier]) == is_wanted(earlier, later)
    assert all(then[name] == others for name, others in held.items())
