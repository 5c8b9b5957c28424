"""What pixels everyone sees of an image, whatever it is encoded in."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from prh.io import images
from prh.io.image_files import IMAGE_FORMATS
from prh.io.images import FIRST_FRAME, FLATTENED, SCALED, TURNED, ImageError, decode, inspect

GREY = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
COLOUR = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(content):
    image = decode(content)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, colour, rows, transparent=()):
    """A PNG by hand: Pillow writes no tRNS for most depths."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    if transparent:
        parts.append(chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), chunk(b"IEND", b"")])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_an_ordinary_image_is_what_it_is(kind):
    assert np.array_equal(pixels(encoded(COLOUR, kind)), COLOUR)
    assert inspect(encoded(COLOUR, kind)) == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(kind, orientation):
    """As the `datasets` library does, and Pillow's own exif_transpose."""
    from datasets import Image as Feature

    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    content = encoded(COLOUR, kind, exif=exif, **options)
    expected = Feature().decode_example({"bytes": content, "path": None}).convert("RGB")
    assert np.array_equal(pixels(content), np.asarray(expected))
    assert pixels(content).shape[:2] == ((6, 8) if orientation < 5 else (8, 6))
    assert (TURNED in inspect(content)) == (orientation > 1)


def test_an_exif_that_cannot_be_read_leaves_the_image_as_it_is(monkeypatch):
    def broken(self):
        raise struct.error("unpack requires a buffer of 4 bytes")

    content = encoded(COLOUR)
    monkeypatch.setattr(Image.Image, "getexif", broken)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.getexif", broken)
    assert np.array_equal(pixels(content), COLOUR)
    assert inspect(content) == (images.UNTURNED,)


ALPHA = np.tile(np.array([0, 51, 128, 255], np.uint8), (6, 2))


def over_white(colours, alpha):
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(np.dstack([COLOUR, ALPHA])), over_white(COLOUR, ALPHA)),
        (encoded(np.dstack([COLOUR, ALPHA]), "WEBP", lossless=True, exact=True), over_white(COLOUR, ALPHA)),
        (encoded(np.dstack([COLOUR, ALPHA]), "TIFF"), over_white(COLOUR, ALPHA)),
        (encoded(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])), over_white(grey(GREY), ALPHA)),
    ],
    ids=["RGBA", "RGBA in WebP", "RGBA in TIFF", "LA"],
)
def test_transparency_is_laid_on_white(content, expected):
    assert np.abs(pixels(content) - expected).max() <= 1
    assert inspect(content) == (FLATTENED,)


@pytest.mark.parametrize("mode", ["PA", "La", "RGBa", "RGBA", "LA"])
def test_every_mode_with_transparency_is_laid_on_white(mode):
    full = Image.fromarray(np.dstack([grey(GREY), ALPHA]))
    image = full.convert("LA").convert("La") if mode == "La" else full.convert(mode)
    if mode == "PA":
        image = full.convert("RGB").convert("P").convert("PA")
        image.putalpha(Image.fromarray(ALPHA))
    notes = []
    seen = np.asarray(images._on_white(image, notes)).astype(int)
    assert notes == [FLATTENED]
    assert (seen[ALPHA == 0] == 255).all()
    assert np.abs(seen - over_white(grey(GREY), ALPHA)).max() <= (30 if mode == "PA" else 4)


def test_the_transparent_colour_of_a_palette():
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    palette.putpalette([200, 0, 0, 0, 0, 200])
    for kind in ("PNG", "GIF"):
        seen = pixels(encoded(palette, kind, transparency=1))
        assert seen.tolist() == [[[200, 0, 0], [255] * 3], [[255] * 3, [200, 0, 0]]]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent", "expected"),
    [
        (1, 0, [0b01000000], (1,), [[0] * 3, [255] * 3]),
        (1, 0, [0b01000000], (0,), [[255] * 3, [255] * 3]),
        (2, 0, [0b01100000], (1,), [[255] * 3, [170] * 3]),
        (4, 0, [0x5A], (5,), [[255] * 3, [170] * 3]),
        (8, 0, [5, 10], (5,), [[255] * 3, [10] * 3]),
        (8, 2, [1, 2, 3, 4, 5, 6], (1, 2, 3), [[255] * 3, [4, 5, 6]]),
        (16, 0, struct.pack(">2H", 300, 257 * 90), (300,), [[255] * 3, [90] * 3]),
        (16, 2, struct.pack(">6H", 300, 400, 500, 257, 514, 771), (300, 400, 500), [[255] * 3, [1, 2, 3]]),
    ],
)
def test_the_transparent_colour_of_a_png_of_every_depth(depth, colour, row, transparent, expected):
    content = png(2, 1, depth, colour, [bytes(row)], transparent)
    assert pixels(content).tolist() == [expected]
    assert FLATTENED in inspect(content)


def test_opaque_alpha_is_not_counted():
    assert inspect(encoded(np.dstack([COLOUR, np.full_like(ALPHA, 255)]))) == ()


@pytest.mark.parametrize(
    "content",
    [
        encoded(GREY.astype(np.uint16) * 257),
        encoded(GREY.astype(np.uint16) * 257, "TIFF"),
        encoded(GREY.astype(np.uint16) * 257, "JPEG2000"),
        encoded(GREY.astype(np.int32) * 257, "TIFF"),
        b"P5 8 6 65535\n" + (GREY.astype(">u2") * 257).tobytes(),
    ],
    ids=["PNG", "TIFF", "JPEG2000", "32 bits", "PGM"],
)
def test_sixteen_bits_are_scaled(content):
    assert np.array_equal(pixels(content), grey(GREY))
    assert inspect(content) == (SCALED,)


def tiff(values, bits=16, photometric=1, signed=False):
    """A grey TIFF by hand, for what Pillow does not write."""
    data = values.astype("<i2" if signed else "<u2").tobytes()
    tags = [(256, values.shape[1]), (257, values.shape[0]), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, values.shape[0]), (279, len(data)), (339, 2 if signed else 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_tiff_says_what_white_is():
    values = GREY.astype(np.int64)
    assert np.array_equal(pixels(tiff(values * 257)), grey(GREY))
    assert np.array_equal(pixels(tiff(65535 - values * 257, photometric=0)), grey(GREY))
    assert np.abs(pixels(tiff(values * 32767 // 255, signed=True)).astype(int) - grey(GREY)).max() <= 1
    with pytest.raises(ImageError, match="its pixels are numbers from -5 to 1170, whose white is not known"):
        decode(tiff(values * 5 - 5, signed=True))


def test_numbers_without_a_known_white_are_refused():
    floats = encoded(GREY.astype(np.float32) / 255, "TIFF")
    for content, message in (
        (floats, "its pixels are floating-point numbers, whose white is not known; save it in 8 bits"),
        (encoded(GREY.astype(np.int32), "TIFF"), "its 32-bit pixels end at 235, so that 255 or 65535 may be white"),
        (encoded(GREY.astype(np.uint16)), "its 16-bit pixels end at 235, so that 255 or 65535 may be white"),
        (encoded(GREY.astype(np.int32) * 2**20, "TIFF"), "its pixels are numbers from 0 to 246415360"),
    ):
        with pytest.raises(ImageError, match=message):
            decode(content)


def test_other_colour_spaces():
    image = Image.fromarray(COLOUR)
    assert np.array_equal(pixels(encoded(image.convert("1"))), np.asarray(image.convert("1").convert("RGB")))
    assert np.array_equal(pixels(encoded(image.convert("L"))), np.asarray(image.convert("L").convert("RGB")))
    assert np.abs(pixels(encoded(image.convert("CMYK"), "TIFF")).astype(int) - COLOUR).max() <= 1
    plain = Image.new("RGB", (16, 16), (200, 30, 60))
    assert np.abs(pixels(encoded(plain.convert("CMYK"), "JPEG")).astype(int) - np.asarray(plain)).max() <= 3
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    content = encoded(ImageCms.profileToProfile(plain, srgb, lab, outputMode="LAB"), "TIFF")
    assert np.abs(pixels(content).astype(int) - np.asarray(plain)).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_of_several_frames(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(pixels(content).astype(int) - [255, 0, 0]).max() <= 4
    assert inspect(content) == (FIRST_FRAME,)


def test_only_the_formats_that_are_meant_are_opened(monkeypatch):
    """EPS would start Ghostscript, whatever the file is called."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *arguments, **options: pytest.fail("started"))
    eps = encoded(COLOUR, "EPS")
    for content in (eps, encoded(COLOUR, "ICO"), encoded(COLOUR, "PCX"), encoded(COLOUR, "PDF"), b"hello"):
        with pytest.raises(ImageError, match="it is not, or not wholly, one of AVIF, BMP"):
            decode(content)
    assert set(IMAGE_FORMATS).isdisjoint({"EPS", "BLP", "WMF", "PDF", "PSD", "FITS", "HDF5"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (encoded(COLOUR)[:90], "truncated|not wholly"),
        (png(20_000, 1, 8, 0, [bytes(20_000)]), "20,000 x 1 pixels, one side above 100 times the other; crop it"),
        (png(1, 101, 8, 0, [b"\0"] * 101), "1 x 101 pixels"),
        (png(50_000, 50_000, 8, 0, [b""]), "pixels"),
        (png(10_000, 9_000, 8, 0, [b""]), "10,000 x 9,000 pixels, more than 89,478,485; scale it down"),
    ],
)
def test_what_is_no_image_is_told_in_a_few_words(content, message):
    with pytest.raises(ImageError, match=message) as caught:
        decode(content)
    assert "\n" not in str(caught.value)


def test_an_image_at_the_bound_of_the_aspect_is_read():
    assert decode(png(100, 1, 8, 0, [bytes(100)])).size == (100, 1)


def test_a_file_beyond_the_bound_of_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(ImageError, match="more than 100; store it smaller"):
        decode(encoded(COLOUR))


def test_whatever_a_decoder_raises_is_told_without_addresses(monkeypatch):
    for error in (KeyError(3), IndexError(), struct.error("x"), MemoryError(), RuntimeError("<A object at 0x7f00>")):

        def broken(self, error=error):
            raise error

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", broken)
        with pytest.raises(ImageError) as caught:
            decode(encoded(COLOUR, "BMP"))
        assert "0x7f" not in str(caught.value)
        assert str(caught.value)


SEEDS = {
    kind: encoded(COLOUR, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
}


@given(
    kind=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 400),
)
@settings(max_examples=300, deadline=None)
def test_a_mutated_image_is_read_or_told(kind, edits, cut):
    content = bytearray(SEEDS[kind])
    for place, value in edits:
        content[place % len(content)] = value
    content = bytes(content[: len(content) - cut % len(content)])
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(decode(content).tobytes())
        except ImageError as error:
            assert "0x" not in str(error)
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]
