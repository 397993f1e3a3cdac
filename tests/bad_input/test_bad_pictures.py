"""Pictures that cannot be shown, and odd ones that must look as they are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import refused, refused_by

from textunlearn import pictures, shell
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import request_of
from textunlearn.pictures import open_picture
from textunlearn.vlm.load import Vlm


def coded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(width: int = 60, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claimed(width: int, height: int, depth: int = 8, kind: int = 2, data: bytes = b"\0" * 10) -> bytes:
    """A PNG of a few bytes that says of itself that it is as large as this."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def broken(data: bytes, at: int, count: int = 40) -> bytes:
    return data[:at] + bytes(b ^ 0xA5 for b in data[at : at + count]) + data[at + count :]


PNG = coded(noise(), "PNG")
BAD: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "nothing": ("a.png", b"", ("none of PNG", "save it as")),
    "not a picture": ("a.png", b"How do I bake bread?", ("none of PNG",)),
    "a web page": ("a.jpg", b"<html><body>404 not found</body></html>", ("none of PNG",)),
    "svg": ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', ("none of PNG",)),
    "postscript, which another program would run": ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ("none of PNG",)),
    "a pointer of git lfs": ("a.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ("none of PNG",)),
    "png cut in its header": ("a.png", PNG[:20], ("truncated",)),
    "png cut": ("a.png", PNG[: len(PNG) // 2], ("truncated",)),
    "png with a wrong sum": ("a.png", broken(PNG, 20, 2), ()),
    "png with damaged pixels": ("a.png", broken(PNG, 60), ()),
    "jpeg cut": ("a.jpg", coded(noise(), "JPEG")[:700], ("truncated",)),
    "jpeg cut in its header": ("a.jpg", coded(noise(), "JPEG")[:9], ()),
    "gif cut": ("a.gif", coded(noise(), "GIF")[:900], ("truncated",)),
    "webp cut": ("a.webp", coded(noise(), "WEBP")[:300], ()),
    "bmp cut": ("a.bmp", coded(noise(), "BMP")[:300], ("truncated",)),
    "tiff cut": ("a.tiff", coded(noise(), "TIFF")[:300], ()),
    "a bomb": ("a.png", claimed(100_000, 100_000), ("pixels",)),
    "a bomb below Pillow's own limit": ("a.png", claimed(12_000, 12_000), ("12000 x 12000", "80,000,000", "smaller")),
    "larger than any integer": ("a.png", claimed(2**31 - 1, 2**31 - 1), ("pixels",)),
    "a bomb as text": ("a.png", PNG[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000)) + PNG[33:], ("text",)),
    "no width": ("a.png", claimed(0, 9), ()),
    "no height": ("a.png", claimed(9, 0), ()),
    "no pixels at all": ("a.png", claimed(9, 9, data=b""), ("truncated",)),
    "a depth that there is not": ("a.png", claimed(9, 9, depth=5), ("none of PNG",)),
    "gif without a frame": ("a.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", ()),
    "values of which none is white": ("a.tiff", coded(Image.new("I", (4, 4), 900_000), "TIFF"), ("white", "900000")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture(name: str, tmp_path: Path) -> None:
    file, data, words = BAD[name]
    (tmp_path / file).write_bytes(data)
    text = refused(tmp_path, (file, "image", *words), lambda: open_picture(tmp_path / file))
    assert len(text) < 500


@pytest.mark.parametrize("name", ["not a picture", "a bomb below Pillow's own limit"])
def test_a_bad_picture_on_the_command_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "quiet", lambda: None)
    file, data, words = BAD[name]
    (tmp_path / file).write_bytes(data)
    refused_by(capsys, tmp_path, (file, *words), "attacks", f"image_file(file={file})", "--out", "shown.png")
    refused_by(capsys, tmp_path, ("gone.png", "there is no image"), "attacks", "image_file(file=gone.png)")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    refused(tmp_path, ("a.png",), lambda: open_picture(tmp_path / "a.png"))
    with pytest.raises(UserError, match="cannot be read"):
        open_picture(tmp_path / "a\0b.png")


RAMP = np.linspace(0, 255, 16).round().astype(np.uint8).reshape(4, 4)
GREY = Image.fromarray(RAMP)


def _16_bits(kind: str) -> bytes:
    return coded(Image.fromarray(RAMP.astype(np.uint16) * 257), kind)


ODD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "grey": ("a.png", lambda: coded(GREY, "PNG")),
    "16 bits": ("a.png", lambda: _16_bits("PNG")),
    "16 bits in tiff": ("a.tiff", lambda: _16_bits("TIFF")),
    "16 bits in pgm": ("a.pgm", lambda: b"P5 4 4 65535\n" + (RAMP.astype(">u2") * 257).tobytes()),
    "32 bits": ("a.tiff", lambda: coded(Image.fromarray(RAMP.astype(np.int32)), "TIFF")),
    "floats from 0 to 1": ("a.tiff", lambda: coded(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF")),
    "floats from 0 to 255": ("a.tiff", lambda: coded(Image.fromarray(RAMP.astype(np.float32)), "TIFF")),
    "a palette": ("a.gif", lambda: coded(GREY, "GIF")),
    "animated gif": ("a.gif", lambda: coded(GREY, "GIF", save_all=True, append_images=[Image.new("L", (4, 4), 9)] * 3)),
    "animated png": ("a.png", lambda: coded(GREY, "PNG", save_all=True, append_images=[Image.new("L", (4, 4), 9)] * 3)),
    "several pages": ("a.tiff", lambda: coded(GREY, "TIFF", save_all=True, append_images=[Image.new("L", (4, 4), 9)])),
    "grey with transparency": ("a.png", lambda: coded(Image.merge("LA", [GREY, Image.new("L", (4, 4), 255)]), "PNG")),
    "a wrong name": ("a.jpg", lambda: coded(GREY, "PNG")),
    "cmyk": ("a.tiff", lambda: coded(Image.merge("CMYK", [Image.new("L", (4, 4))] * 3 + [GREY.point(lambda v: 255 - v)]), "TIFF")),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_picture_shows_what_it_shows(name: str, tmp_path: Path) -> None:
    """All of them are one ramp of greys; of several frames it is the first."""
    file, make = ODD[name]
    (tmp_path / file).write_bytes(make())
    shown = open_picture(tmp_path / file)
    assert shown.mode == "RGB" and shown.size == (4, 4)
    assert np.abs(np.asarray(shown).astype(int) - RAMP[..., None]).max() <= 1


def test_transparent_is_white_and_cmyk_of_a_jpeg_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(coded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG"))
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)
    (tmp_path / "b.jpg").write_bytes(coded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    red = open_picture(tmp_path / "b.jpg").getpixel((4, 4))
    assert isinstance(red, tuple) and red[0] > 200 and max(red[1:]) < 60


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 400), (400, 1), (3, 1)])
def test_the_smallest_and_thinnest_pictures(size: tuple[int, int], clip: Vlm, reader: Vlm, tmp_path: Path) -> None:
    """Shown, or refused in a sentence that names the file and its size."""
    path = tmp_path / "thin.png"
    Image.new("RGB", size, "red").save(path)
    for vlm in (clip, reader):
        try:
            request = request_of(vlm, vlm.text_of("bake", images=1), [path])
        except UserError as error:
            assert f"thin.png ({size[0]} x {size[1]})" in str(error) and "\n" not in str(error)
        else:
            assert request.ids.count(vlm.image_token_id) > 0  # type: ignore[arg-type]


def test_what_a_processor_refuses_is_said_with_the_file(
    clip: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qwen2-VL's refuses pictures 200 times as wide as high, in words of its own."""
    import tiny_families

    path = tmp_path / "wide.png"
    Image.new("RGB", (2100, 10)).save(path)
    qwen = tiny_families.opened("qwen2_vl", tmp_path / "qwen2_vl")
    refused(
        tmp_path,
        ("wide.png", "2100 x 10", "qwen2_vl", "aspect ratio"),
        lambda: request_of(qwen, qwen.text_of("x", images=1), [path]),
    )


def test_the_limit_is_looked_at_before_pixels_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    noise().save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "_rgb", lambda image: pytest.fail("decoded"))
    refused(tmp_path, ("60 x 40",), lambda: open_picture(tmp_path / "a.png"))
