"""What ``import prh`` offers: few names, each documented as numpydoc asks, with examples that run."""

import doctest
import inspect
import types
from unittest import mock

import numpy as np
import pytest

import prh

NAMES = [name for name in prh.__all__ if not isinstance(getattr(prh, name), types.ModuleType)]
DOCUMENTED = [name for name in NAMES if not name.endswith("Entry")]  # the keys of an entry document themselves
METRICS = sorted({metric.function.__name__ for metric in prh.metrics.METRICS.values()} & set(prh.metrics.__all__))


@pytest.fixture(autouse=True)
def metrics_as_before():
    """Some examples register a metric, which other tests must not see."""
    with mock.patch.dict(prh.metrics.METRICS), mock.patch.dict(prh.metrics.EFFECTS):
        yield


def test_the_names_are_few_and_all_there():
    assert {"align", "compare", "Representation", "metric", "prepare", "register"} <= set(prh.__all__)
    assert all(hasattr(prh, name) for name in prh.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        prh.nothing  # noqa: B018


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_is_documented_in_sections(name):
    text = inspect.getdoc(getattr(prh, name))
    assert "Parameters\n----------" in text or "Attributes\n----------" in text
    assert "Examples\n--------" in text
    if inspect.isfunction(getattr(prh, name)):
        assert "Raises\n------" in text


@pytest.mark.parametrize("name", DOCUMENTED)
def test_its_examples_run(name):
    one = getattr(prh, name)
    module = inspect.getmodule(one)
    tests = doctest.DocTestFinder(recurse=False).find(one, name, globs=vars(module))
    assert sum(len(test.examples) for test in tests)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert all(runner.run(test).failed == 0 for test in tests)


@pytest.mark.parametrize("name", ["Metric", "effects", "variant"])
def test_examples_of_the_registry_of_metrics_run(name):
    registered = getattr(prh.metrics, name)
    tests = doctest.DocTestFinder(recurse=False).find(registered, name, globs={"np": np})
    assert sum(len(test.examples) for test in tests)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert all(runner.run(test).failed == 0 for test in tests)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_documented_in_sections_with_an_example_that_runs(name):
    metric = getattr(prh.metrics, name)
    for section in ("Parameters", "Returns", "Raises", "References", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in inspect.getdoc(metric), section
    tests = doctest.DocTestFinder(recurse=False).find(metric, name, globs={"np": np, name: metric, **vars(prh.metrics)})
    assert sum(len(test.examples) for test in tests)
    runner = doctest.DocTestRunner()
    assert all(runner.run(test).failed == 0 for test in tests)
