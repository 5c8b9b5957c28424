"""The names that are read off timm's source are those that timm has."""

import subprocess
import sys

import pytest

from prh.models import timm_names


def test_names_are_those_of_timm_itself():
    import timm
    from timm.models import _registry

    from prh.models import architectures  # noqa: F401  (adds to timm's registry)

    known = timm_names.architectures()
    assert known == {*timm.list_models(), *_registry._deprecated_models}
    assert "small_alexnet" in known


def test_no_name_with_weights_is_refused():
    import timm

    assert [name for name in timm.list_models(pretrained=True) if timm_names.mistake(name)] == []
    assert [name for name in timm.list_pretrained() if timm_names.mistake(name)] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit_tiny_patch16_244", "timm has no architecture 'vit_tiny_patch16_244' (did you mean 'vit_tiny_patch16_"),
        ("no such thing", "timm has no architecture 'no such thing'; timm.list_models()"),
        ("", "timm has no architecture ''"),
        ("resnet50.no_such_weights", "timm has no weights 'no_such_weights' of 'resnet50'"),
        ("timm/resnet50.tv_in1k", None),
        ("hf-hub:me/model", None),
        ("resnet50.tv_in1k", None),
        ("resnet50", None),
    ],
)
def test_a_misspelt_name_is_told(name, said):
    mistake = timm_names.mistake(name)
    assert (mistake is None) if said is None else mistake.startswith(said)


def test_nothing_is_refused_where_timm_is_not_installed(monkeypatch):
    timm_names.architectures.cache_clear()
    timm_names._source.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    try:
        assert timm_names.mistake("anything") is None
    finally:
        timm_names.architectures.cache_clear()
        timm_names._source.cache_clear()


def test_torch_is_not_imported_for_it():
    code = "import sys; from prh.models import timm_names; timm_names.mistake('resnet50'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
