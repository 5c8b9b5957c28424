"""How the layers of a vision model are pooled is found out by experiment, whatever the order of their axes."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from prh import modalities
from prh.experiment.schema import VisionModel
from prh.modalities import vision
from prh.models import vision_proofs
from prh.models.layouts import prove_layouts
from prh.models.pooling import Layout, pool, tensors_in
from prh.models.repositories import ModelError
from tests.unit.test_encoders import entry

PATCH = 8


class Mixing(nn.Module):
    """A block: every place learns of all others; what it gives is ``arranged``."""

    def __init__(self, arranged, axes=(2, 3)) -> None:
        super().__init__()
        self.arranged, self.axes = arranged, axes

    def forward(self, states):
        return self.arranged(states + states.mean(self.axes, keepdim=True).tanh())


class Maps(nn.Module):
    """Patches [batch, width, height, width_px] through blocks whose outputs are arranged in some other way."""

    def __init__(self, arranged, width=5, blocks=2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.blocks = nn.ModuleList(Mixing(arranged) for _ in range(blocks))

    def forward(self, images):
        maps = self.patches(images)
        return [block(maps) for block in self.blocks]


class Tokens(nn.Module):
    """Tokens [batch, before + places + after, width] through blocks that mix them; ``arranged`` as above.

    The class token is number ``of_class`` of those before (None: there is none).
    """

    def __init__(self, before=1, after=0, of_class=0, width=5, blocks=2, arranged=lambda x: x) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.of_class = of_class
        if of_class is not None:
            self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.others = nn.Parameter(torch.randn(1, before - (of_class is not None), width))
        self.detection_tokens = nn.Parameter(torch.randn(1, after, width))
        self.blocks = nn.ModuleList(Mixing(arranged, 1) for _ in range(blocks))

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        before = [self.others]
        if self.of_class is not None:
            before = [self.others[:, : self.of_class], self.cls_token, self.others[:, self.of_class :]]
        learned = [token.expand(len(images), -1, -1) for token in (*before, self.detection_tokens)]
        tokens = torch.cat([*learned[:-1], patches, learned[-1]], 1)
        return [block(tokens) for block in self.blocks]


def on_meta(build, takes_size=False):
    """The twin of a model that takes images of any size."""

    def twin(size):
        if size is not None and not takes_size:
            return None
        with torch.device("meta"):
            return build()

    return twin


def prove(build, size=(32, 32), **more):
    torch.manual_seed(0)
    model = build().eval()
    images = torch.randn(2, 3, *size)
    layers = [(f"blocks.{number}", block) for number, block in enumerate(model.blocks)]
    return model, images, prove_layouts(model, layers, images, on_meta(build), **more)


def outputs(model, images):
    taken = []
    hooks = [block.register_forward_hook(lambda _m, _i, output: taken.append(output)) for block in model.blocks]
    with torch.inference_mode():
        model(images)
    for hook in hooks:
        hook.remove()
    return taken


@settings(deadline=None, max_examples=25)
@given(
    order=st.permutations(range(4)),
    width=st.sampled_from([1, 2, 4, 8, 7]),
    size=st.sampled_from([(32, 32), (32, 64), (8, 8), (64, 24)]),
)
def test_maps_are_pooled_over_the_image_in_any_order_of_axes(order, width, size):
    """Widths as large as the sides of the map, or as the batch, or 1, mislead nothing."""
    model, images, layouts = prove(lambda: Maps(lambda x: x.permute(order), width=width), size)
    expected = outputs(unarranged(model), images)[0].mean((2, 3))
    for output, layout in zip(outputs(model, images), layouts, strict=True):
        for pooling in ("gap", "mean"):
            torch.testing.assert_close(pool(output, layout, pooling, 2), expected)


def unarranged(model):
    """The same model without the arrangement."""
    plain = Maps(lambda x: x, width=model.patches.out_channels)
    plain.patches = model.patches
    return plain


@settings(deadline=None, max_examples=25)
@given(
    before=st.integers(0, 5),
    after=st.integers(0, 7),
    of_class=st.none() | st.integers(0, 4),
    order=st.permutations(range(3)),
    width=st.sampled_from([1, 2, 16, 5]),
    size=st.sampled_from([(32, 32), (16, 48), (8, 8)]),
)
def test_tokens_that_are_no_place_of_the_image_are_counted_and_the_class_token_found(
    before, after, of_class, order, width, size
):
    if of_class is not None:
        before, of_class = max(1, before), min(of_class, max(0, before - 1))

    def build():
        return Tokens(before, after, of_class, width, arranged=lambda x: x.permute(order))

    model, images, layouts = prove(build, size)
    for output, layout in zip(outputs(model, images), layouts, strict=True):
        tokens = output.permute(tuple(np.argsort(order)))
        places = tokens[:, before : tokens.shape[1] - after]
        torch.testing.assert_close(pool(output, layout, "gap", 2), places.mean(1))
        torch.testing.assert_close(pool(output, layout, "mean", 2), tokens.mean(1))
        assert (layout.class_token is None) == (of_class is None)
        if of_class is not None:
            torch.testing.assert_close(pool(output, layout, "cls", 2), tokens[:, of_class])


def windows(maps, side=2):
    """[batch * windows, tokens, width], the windows of an image one after another."""
    batch, width, height, width_px = maps.shape
    cut = maps.reshape(batch, width, height // side, side, width_px // side, side).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(-1, side * side, width)


def test_windows_in_the_batch_axis_are_put_together_again():
    """Windows of fixed size grow in number, so that no axis of their tokens moves: refused, unless the tokens do."""
    with pytest.raises(
        ModelError, match=r"layer blocks\.0 of Maps gives \[8, 4, 5\] for two images, and none of its axes"
    ):
        prove(lambda: Maps(windows))
    model, images, layouts = prove(lambda: Maps(lambda x: windows(x, x.shape[2] // 2)))
    assert layouts[0].windows
    expected = outputs(unarranged(model), images)[0].mean((2, 3))
    torch.testing.assert_close(pool(outputs(model, images)[0], layouts[0], "gap", 2), expected)


def test_of_several_tensors_the_one_that_is_the_features_is_taken():
    def two_streams(maps):
        """As TNT: the pixels of every patch, then the patches."""
        return windows(maps), maps.flatten(2).transpose(1, 2)

    _, _, layouts = prove(lambda: Maps(two_streams))
    assert layouts[0] == Layout(places=(1,), width=2, path=(1,))
    _, _, layouts = prove(lambda: Maps(lambda x: {"state": x, "size": x.shape[2:], "nothing": None}))
    assert layouts[0] == Layout(places=(2, 3), width=1, path=("state",))
    _, _, layouts = prove(lambda: Maps(lambda x: [x, x]))  # the same one twice
    assert layouts[0].path == (0,)
    with pytest.raises(ModelError, match="it is unclear which of these tensors holds the features"):
        prove(lambda: Maps(lambda x: (x, 2 * x)))


def test_what_the_next_block_is_given_is_the_features():
    class Chained(Maps):
        def forward(self, images):
            maps = self.patches(images)
            for block in self.blocks:
                _, maps = block(maps)
            return maps

    _, _, layouts = prove(lambda: Chained(lambda x: (2 * x, x)))
    assert [layout.path for layout in layouts] == [(1,), (1,)]


@pytest.mark.parametrize(
    ("arranged", "said"),
    [
        (lambda x: x.flatten(1), r"\[2, 80\] for two images, and every axis changes with the image's size"),
        (lambda x: x.sum(0), "no one axis of it counts images"),
        (lambda x: x.flatten(2).transpose(1, 2) @ x.flatten(2), "every axis changes"),  # pairs of tokens
        (lambda x: (x.flatten(2).transpose(1, 2) @ x.flatten(2))[:, None], "two of its axes grow faster"),
        (lambda x: x[:, :, :2, :2], "none of its axes changes"),
        (lambda x: x.unsqueeze(1), "of its axes only 3, 4 changes"),
        (lambda x: x.long(), "the layer computes none of it"),
        (lambda x: None, "gives no tensor of its own"),
    ],
)
def test_what_cannot_be_proved_is_refused_in_one_sentence(arranged, said):
    with pytest.raises(ModelError, match=said):
        prove(lambda: Maps(arranged))


def test_tokens_between_the_places_are_refused():
    class Between(Tokens):
        def forward(self, images):
            patches = self.patches(images).flatten(2).transpose(1, 2)
            token = self.cls_token.expand(len(images), -1, -1)
            tokens = torch.cat([patches[:, :4], token, patches[:, 4:]], 1)
            return [block(tokens) for block in self.blocks]

    with pytest.raises(ModelError, match=r"its tokens \[4\] that are not places of the image lie between the others"):
        prove(Between)


def test_a_layer_that_runs_twice_or_never_is_refused():
    class Shared(Maps):
        def forward(self, images):
            return self.blocks[0](self.blocks[0](self.patches(images)))

    with pytest.raises(ModelError, match=r"layer blocks\.0 of Shared runs 2 times"):
        prove(lambda: Shared(lambda x: x))

    class Early(Maps):
        def forward(self, images):
            return self.blocks[0](self.patches(images))

    with pytest.raises(ModelError, match=r"layer blocks\.1 of model 'm' \(Early\) runs 0 times"):
        prove(lambda: Early(lambda x: x), model="model 'm'")


def test_layers_that_were_found_reach_to_the_end():
    class Longer(Maps):
        def __init__(self) -> None:
            super().__init__(lambda x: x)
            self.rest = nn.Sequential(*(nn.Conv2d(5, 5, 1) for _ in range(6)))

        def forward(self, images):
            return self.rest(super().forward(images)[-1])

    assert len(prove(Longer)[2]) == 2
    with pytest.raises(ModelError, match=r"goes on for three quarters of its depth after blocks\.1"):
        prove(Longer, whole=True)


@pytest.mark.parametrize("width", [5, 16])
def test_a_model_of_one_size_is_told_by_its_widths_or_refused(width):
    """Its map has 4 x 4 places: 5 is the width and nothing else; 16 could be the number of places too."""
    torch.manual_seed(0)
    model = Tokens(before=0, of_class=None, width=width).eval()
    images = torch.randn(2, 3, 32, 32)
    layers = [("blocks.0", model.blocks[0])]
    if width == 5:
        layouts = prove_layouts(model, layers, images, lambda _size: None, {5})
        assert layouts == [Layout(places=(1,), width=2)]
    else:
        with pytest.raises(
            ModelError, match="its axes cannot be told apart, because the model takes images of one size only"
        ):
            prove_layouts(model, layers, images, lambda _size: None, {16})


@pytest.mark.parametrize("stride", [4, 8])
def test_patches_that_overlap_are_counted_from_three_sizes(stride):
    class Overlapping(Tokens):
        def __init__(self) -> None:
            super().__init__(before=2)
            self.patches = nn.Conv2d(3, 5, 16, stride)

    _, _, layouts = prove(Overlapping, (64, 64))
    assert {(layout.first, layout.last, layout.class_token) for layout in layouts} == {(2, 0, 0)}


def test_an_image_smaller_than_a_patch_is_refused_in_one_sentence():
    with pytest.raises(
        ModelError, match=r"Maps does not take images of shape \(2, 3, 4, 4\) \(RuntimeError: .*\); a v"
    ):
        prove(lambda: Maps(lambda x: x), (4, 4))


def test_one_block_is_enough():
    _, _, layouts = prove(lambda: Tokens(blocks=1))
    assert layouts == [Layout(places=(1,), width=2, first=1, class_token=0)]


def test_a_later_output_of_another_kind_is_no_number():
    with pytest.raises(ModelError, match=r"shape \(2, 5\), not \[batch, tokens, width\] as when the model was loaded"):
        pool(torch.zeros(2, 5), Layout(places=(1,), width=2), "gap", 2)


def test_tensors_are_found_however_nested():
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    nested = [a, {"x": (b, None), "y": 3}, [[c]]]
    assert [(path, id(tensor)) for path, tensor in tensors_in(nested)] == [
        ((0,), id(a)),
        ((1, "x", 0), id(b)),
        ((2, 0, 0), id(c)),
    ]


# ---- pooling that is asked for -----------------------------------------------------------------------------------

TOKEN, PLAIN, MAP = Layout((1,), 2, first=1, class_token=0), Layout((1,), 2), Layout((2, 3), 1)


@pytest.mark.parametrize(
    ("layouts", "auto"),
    [([TOKEN] * 2, "cls"), ([MAP, TOKEN], "cls"), ([PLAIN, TOKEN], "gap"), ([MAP] * 2, "gap"), ([PLAIN], "gap")],
)
def test_the_class_token_is_taken_where_every_layer_of_tokens_has_one(layouts, auto):
    names = [f"layer{number}" for number in range(len(layouts))]
    assert vision.choose_pooling("auto", names, layouts) == auto
    assert vision.choose_pooling("mean", names, layouts) == "mean"
    if auto == "gap":
        where = "layer layer0" if TOKEN in layouts else "this model"
        with pytest.raises(ModelError, match=f"needs a class token and {where} has none"):
            vision.choose_pooling("cls", names, layouts)


# ---- two passes ---------------------------------------------------------------------------------------------------


def repeat(encode):
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return vision_proofs.prove_repeatable(encode, images, ["first", "second"], model="model 'm'")


def test_passes_that_repeat_are_said_to():
    results = repeat(lambda images: [images.flatten(1), images.mean((2, 3))])
    assert results == {"two passes": "equal", "an image alone and in a batch": "equal"}


def test_passes_that_draw_at_random_are_refused():
    with pytest.raises(ModelError, match=r"model 'm': two passes of the same images differ \(layer second, by"):
        repeat(lambda images: [images.flatten(1), nn.functional.dropout(images.flatten(1), 0.1)])
    with pytest.raises(ModelError, match="two passes of the same images differ"):
        repeat(lambda images: [images.flatten(1), images.flatten(1)[:, torch.randperm(192)[:48]]])


def test_a_model_that_mixes_the_images_of_a_batch_is_refused():
    with pytest.raises(ModelError, match="model 'm': an image alone and in a batch gives different features"):
        repeat(lambda images: [images.flatten(1), (images - images.mean(0)).flatten(1)])


def test_rounding_that_grows_is_told_from_mixing():
    """A map that is chaotic (x -> 4 x (1 - x)) makes rounding large in float32; what mixes images does so in float64."""

    def chaos(images, dtype=torch.float32, mixing=0.0):
        state = (images.to(dtype).flatten(1) - mixing * images.mean()).sigmoid() * (
            1 + 1e-7 * len(images) * (dtype == torch.float32)
        )
        for _ in range(22):
            state = 4 * state * (1 - state)
        return [state.float()]

    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def check(mixing):
        return vision_proofs.prove_repeatable(
            lambda x: chaos(x, mixing=mixing),
            images,
            ["only"],
            model="model 'm'",
            exact=lambda x: chaos(x, torch.float64, mixing),
        )

    assert check(0.0)["an image alone and in a batch"].startswith("equal in float64 (rounding grows to")
    with pytest.raises(ModelError, match="gives different features"):
        check(0.1)


def test_features_in_double_are_those_in_float():
    encoder = modalities.load(entry(id="test_resnet"), None)
    images = encoder.transform(Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)))[None]
    for double, single in zip(encoder.encode_in_double(images), encoder.encode(images), strict=True):
        torch.testing.assert_close(double, single, atol=1e-4, rtol=1e-4)
    assert next(encoder.module.parameters()).dtype == torch.float32


def test_nan_is_no_repetition():
    with pytest.raises(ModelError, match="two passes of the same images differ"):
        repeat(lambda images: [images.flatten(1) * float("nan"), images.flatten(1)])


# ---- models of timm -----------------------------------------------------------------------------------------------

# maps with the channels last; first stages with the channels first; two streams; a class token that comes late; a
# distillation token; registers; a state besides; tuples with sizes; tokens of two branches
KINDS = {
    "test_mambaout": {"[batch, height, width_px, width]"},
    "swinv2_cr_tiny_ns_224": {"[batch, height, width_px, width]"},
    "gcvit_xxtiny": {"[batch, height, width_px, width]"},
    "volo_d1_224": {"[batch, height, width_px, width]"},
    "tiny_vit_5m_224": {"[batch, width, height, width_px]", "[batch, height, width_px, width]"},
    "samvit_base_patch16_224": {"[batch, height, width_px, width]"},
    "sam2_hiera_tiny": {"[batch, height, width_px, width]"},
    "tnt_s_legacy_patch16_224": {"[batch, tokens, width] at 1, 1 + 0 tokens before and after the image, class token 0"},
    "convit_tiny": {
        "[batch, tokens, width]",
        "[batch, tokens, width], 1 + 0 tokens before and after the image, class token 0",
    },
    "deit_tiny_distilled_patch16_224": {
        "[batch, tokens, width], 2 + 0 tokens before and after the image, class token 0"
    },
    "test_vit2": {"[batch, tokens, width], 1 + 0 tokens before and after the image"},
    "efficientvim_m1": {"[batch, width, height, width_px] at 0"},
    "mvitv2_tiny": {"[batch, tokens, width] at 0"},
    "pit_ti_224": {"[batch, tokens, width], 1 + 0 tokens before and after the image, class token 0"},
}
SMALL_IMAGES = {"input_size": (3, 64, 64), "test_input_size": None}
HGNETV2_B0 = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0)]
QUICK = {"test_mambaout", "test_vit2", "pit_ti_224", "efficientvim_m1"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in KINDS]
)
def test_layouts_of_timm(name):
    encoder = modalities.load(entry(id=name), None)
    assert {str(layout) for layout in encoder.layouts} == KINDS[name]
    assert encoder.selftest.results["two passes"] == "equal"
    assert encoder.layer_names[0] in encoder.selftest.results["pooled axis"]
    widths = {
        size: [layer.shape for layer in encoder.encode(torch.rand(size, *encoder_size(encoder)))] for size in (1, 2)
    }
    assert all(one[1] == two[1] for one, two in zip(*widths.values(), strict=True))


def test_what_a_stage_holds_is_a_block_whatever_it_is_made_of():
    """The convolutions in a block of HGNet are no layers: the block joins them."""
    small = VisionModel(**entry(id="hgnetv2_b0")).model_copy(
        update={"model_args": {"pretrained_cfg_overlay": SMALL_IMAGES}}
    )
    encoder = modalities.load(small, None)
    assert encoder.layer_names == [f"stages.{stage}.blocks.{block}" for stage, block in HGNETV2_B0]
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        given = encoder.module.forward_intermediates(encoder.as_input(images), intermediates_only=True)
    last = {name.split(".")[1]: layer for name, layer in zip(encoder.layer_names, encoder.encode(images), strict=True)}
    for state, layer in zip(given[-4:], last.values(), strict=True):
        torch.testing.assert_close(layer, state.float().mean((2, 3)), rtol=1e-4, atol=1e-5)


def encoder_size(encoder):
    return encoder.transform(Image.new("RGB", (30, 40))).shape


@pytest.mark.parametrize("pooling", ["gap", "mean", "cls"])
def test_poolings_of_a_distilled_model_are_those_of_timm(pooling):
    settings = {"img_size": 64, "depth": 3, "embed_dim": 48}
    encoder = modalities.load(entry(id="deit_tiny_distilled_patch16_224", model_args=settings, pooling=pooling), None)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        taken = encoder.module.forward_intermediates(
            images, return_prefix_tokens=True, intermediates_only=True, output_fmt="NLC"
        )
    for layer, (places, prefix) in zip(encoder.encode(images), taken, strict=True):
        assert prefix.shape[1] == 2
        tokens = torch.cat([prefix, places], 1)
        expected = {"gap": places.mean(1), "mean": tokens.mean(1), "cls": prefix[:, 0]}[pooling]
        torch.testing.assert_close(layer, expected)


def test_images_of_another_size_keep_the_width():
    """A model that takes any size gives layers of one width."""
    small, large = (
        modalities.load(entry(id="test_vit", model_args={"img_size": size, "dynamic_img_size": True}), None)
        for size in (64, 160)
    )
    shapes = [[len(layer[0]) for layer in encoder.encode(torch.rand(1, 3, 96, 96))] for encoder in (small, large)]
    assert shapes[0] == shapes[1]
    assert list(itertools.chain(small.layouts)) == large.layouts
