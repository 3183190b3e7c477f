"""A picture of any size lies in its array where its mask lies, upright, and without being stretched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipelines.data.decoding import as_rgb, decode, decode_mask, pixels_of, size_of, upright
from pipelines.data.files import File
from pipelines.data.framing import Frame, Size, frame, laid, nearest, usual
from pipelines.data.kinds import Fit
from pipelines.data.spec import IGNORED, Rendering
from registry.errors import BadData

SIDES = st.integers(1, 400)
SIZES = st.tuples(SIDES, SIDES)


def file_of(path: Path) -> File:
    return File(name=path.name, path=str(path), size=path.stat().st_size)


def smooth(height: int, width: int) -> np.ndarray:
    """Red rises from left to right, green from top to bottom: where a pixel came from can be read off it."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([red, green, np.zeros_like(red)], axis=-1).round().astype(np.uint8)


@given(picture=SIZES, size=SIZES)
def test_a_crop_fills_the_array_with_the_centre_and_stretches_nothing(picture: Size, size: Size) -> None:
    shown = frame(picture, size, "crop")
    left, upper, right, lower = shown.box
    assert (shown.content, shown.corner) == (size, (0, 0))
    assert (left + right, upper + lower) == pytest.approx(picture[::-1])
    assert (right - left) / (lower - upper) == pytest.approx(size[1] / size[0])
    assert right - left == pytest.approx(picture[1]) or lower - upper == pytest.approx(picture[0])


@given(picture=SIZES, size=SIZES)
def test_a_padded_picture_is_all_there(picture: Size, size: Size) -> None:
    shown = frame(picture, size, "pad")
    assert shown.box == (0, 0, picture[1], picture[0])
    assert shown.content[0] == size[0] or shown.content[1] == size[1]
    assert all(
        corner >= 0 and corner + side <= most for corner, side, most in zip(shown.corner, shown.content, size, strict=True)
    )


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", [(32, 32), (20, 50), (90, 130)], ids=["square", "wide", "larger"])
def test_a_mask_lies_where_its_image_lies(tmp_path: Path, fit: Fit, size: Size) -> None:
    pixels = smooth(70, 110)
    bright = (pixels[..., 0] > 128).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    Image.fromarray(bright).save(tmp_path / "mask.png")
    how = Rendering(size=size, fit=fit)
    image, mask = decode(file_of(tmp_path / "image.png"), how).pixels, decode_mask(file_of(tmp_path / "mask.png"), how).pixels
    assert image.shape[:2] == mask.shape == size
    seen = mask != IGNORED
    assert seen.all() == (fit == "crop")
    assert (image[~seen] == 0).all()
    sure = seen & (np.abs(image[..., 0].astype(int) - 128) > 8)  # beside the edge
    assert ((image[..., 0] > 128) == mask)[sure].all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_picture_stands_upright_however_it_lies_in_its_file(tmp_path: Path, orientation: int, fit: Fit) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = Image.fromarray(smooth(120, 70))
    lying.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "photo.jpg") as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    whole = decode(file_of(tmp_path / "photo.jpg"), Rendering())
    assert np.array_equal(whole.pixels, wanted)
    assert (whole.size, whole.turned) == (wanted.shape[:2], orientation != 1)
    assert size_of(file_of(tmp_path / "photo.jpg")) == wanted.shape[:2]
    Image.fromarray(wanted).save(tmp_path / "upright.png")
    how = Rendering(size=(31, 24), fit=fit)
    one, other = (decode(file_of(tmp_path / name), how).pixels.astype(int) for name in ("photo.jpg", "upright.png"))
    assert np.abs(one - other).max() <= 6


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_what_pad_adds_is_black_in_pictures_of_every_kind(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (40, 20), (204, 204, 204)).convert(mode).save(tmp_path / "photo.png")
    pixels = pixels_of(tmp_path / "photo.png", Rendering(size=(40, 40), fit="pad", channels=3))
    assert (pixels[:10] == 0).all()
    assert (pixels[10:30] == 204).all()


def test_files_of_before_lie_as_they_did(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(12, 7)).save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(decode(file_of(tmp_path / "photo.png"), None).pixels, smooth(12, 7))


@given(orientation=st.integers(1, 8))
def test_turning_is_what_pillow_does(orientation: int) -> None:
    pixels = smooth(3, 5)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(upright(pixels, orientation), np.asarray(ImageOps.exif_transpose(image)))


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path: Path) -> None:
    Image.fromarray(smooth(1200, 1600)).save(tmp_path / "large.jpg", quality=95)
    Image.fromarray(smooth(1200, 1600)).save(tmp_path / "large.png")
    one, other = (decode(file_of(tmp_path / f"large.{end}"), Rendering(size=(64, 64))) for end in ("jpg", "png"))
    assert one.size == other.size == (1200, 1600)
    assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 4


def test_only_the_picture_of_what_a_camera_wrote_is_taken(tmp_path: Path) -> None:
    photo, preview = Image.fromarray(smooth(20, 30)), Image.new("RGB", (4, 4))
    photo.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[preview], quality=95)
    with Image.open(tmp_path / "photo.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    found = decode(file_of(tmp_path / "photo.jpg"), Rendering())
    assert np.abs(found.pixels.astype(int) - smooth(20, 30)).max() <= 10


def test_damaged_metadata_cost_no_picture(tmp_path: Path) -> None:
    Image.fromarray(smooth(20, 30)).save(tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff", quality=95)
    assert decode(file_of(tmp_path / "photo.jpg"), Rendering(size=(8, 8))).pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_levels_say_what_is_black_and_white_in_deep_images(tmp_path: Path, mode: str) -> None:
    values = np.array([[100, 1100, 2100], [0, 600, 9000]])
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    Image.fromarray(values.astype(kind)).save(tmp_path / "scan.tif")
    found = decode(file_of(tmp_path / "scan.tif"), Rendering(levels=(100, 2100))).pixels[..., 0]
    assert found.tolist() == [[0, 128, 255], [0, 64, 255]]


def test_deep_images_are_refused_with_the_values_that_they_have(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 3000]], dtype=np.uint16)).save(tmp_path / "scan.png")
    with pytest.raises(BadData, match=r"pixel format 'I;16' with values from 7 to 3000") as caught:
        decode(file_of(tmp_path / "scan.png"), Rendering())
    assert caught.value.hint == "--levels 0:4095"


def test_grey_is_repeated_and_transparent_pixels_lie_on_white() -> None:
    grey = np.full((1, 1, 1), 7, np.uint8)
    assert as_rgb(grey).tolist() == [[[7, 7, 7]]]
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    assert as_rgb(pixels).tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]]


def test_whoever_serves_a_model_gets_the_pixels_that_it_was_trained_on(tmp_path: Path) -> None:
    Image.fromarray(smooth(40, 30)[..., 0]).save(tmp_path / "grey.png")
    how = Rendering(size=(16, 16), fit="crop", channels=3)
    assert pixels_of(tmp_path / "grey.png", how).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param({(28, 28): 9, (30, 28): 1}, (28, 28), id="most are small and alike"),
        pytest.param({(3000, 4000): 9, (480, 640): 1}, (224, 224), id="photographs"),
        pytest.param({(100, 150): 1, (120, 90): 1, (90, 130): 1}, (64, 64), id="thumbnails"),
        pytest.param({(9, 20): 1, (11, 9): 1}, (9, 9), id="icons"),
    ],
)
def test_a_size_is_proposed_that_suits_most(sizes: dict[Size, int], expected: Size) -> None:
    assert usual(sizes) == expected


def test_nothing_is_around_content_that_fills_its_array() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    shown = Frame((0.0, 0.0, 4.0, 3.0), (3, 4), (0, 0))
    assert np.array_equal(laid(nearest(mask, shown), shown, (3, 4), around=9), mask)
