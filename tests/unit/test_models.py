import pytest

from prh import models
from prh.models import ModelError


@pytest.mark.parametrize(("identity", "repository"), [("vit_base_patch14_dinov2.lvd142m", "timm/vit_base_patch14_dinov2.lvd142m"),
                                                      ("hf-hub:me/mine", "me/mine"), ("me/mine", "me/mine")])  # fmt: skip
def test_repositories_of_timm_names(identity, repository):
    assert models.hub_repository("timm", identity) == repository


def test_a_timm_name_without_weights_is_an_error():
    with pytest.raises(ModelError, match=r"timm has no weights on the hub for 'nosuchmodel'"):
        models.hub_repository("timm", "nosuchmodel")
