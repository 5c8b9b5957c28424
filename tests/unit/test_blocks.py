"""Which modules of a vision model are its blocks; models are built without weights."""

import pytest
import timm
import torch

from prh.models.blocks import find_layers

RDNET = [f"dense_stages.{i}.{0 if i == 0 else 2}.dense_block" for i in range(7)]


@pytest.mark.parametrize(
    ("name", "beginnings", "count"),
    [
        ("convmixer_768_32", [f"blocks.{i}" for i in range(32)], 32),
        ("rdnet_tiny", RDNET, 21),
        ("csatv2", ["stages.0.", "stages.1.", "stages.2.", "stages.3."], 18),
        ("starnet_s1", ["stages.0.", "stages.1.", "stages.2.", "stages.3."], 19),
        ("dla34", ["level1", "level2", "level3", "level4", "level5"], 5),
        ("densenet121", ["features."], 11),
        ("vgg11", ["features."], 21),
        ("mobilenetv4_conv_small", ["blocks."], 17),
    ],
)
def test_plain_operations_of_a_sequence_are_no_blocks_of_their_own(name, beginnings, count):
    with torch.device("meta"):
        model = timm.create_model(name)
    layers = find_layers(model)
    assert len(layers) == count
    for beginning in beginnings:
        assert any(layer.startswith(beginning) for layer, _ in layers)
    if not name.startswith(("densenet", "vgg")):  # whose trunk is a sequence of operations itself
        assert not any(isinstance(module, (torch.nn.Conv2d, torch.nn.LayerNorm)) for _, module in layers)
