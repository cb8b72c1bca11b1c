"""Videos: where the pictures and words are, and that a file gives back what was written."""

import numpy as np
import pytest
from PIL import Image, features

from jaxprune import SpecError
from jaxprune.report.video import LINE, PAPER, Tile, check_writable, frame, save

HEIGHT, WIDTH = 24, 200
TOP, ABOVE = 2 * LINE + 4, 2 * LINE


def one_colour(*rgb, **more):
    return Tile(np.full((HEIGHT, WIDTH, 3), rgb, np.uint8), "sparsity 0.90, clean", "return 12", **more)


def test_tiles_stand_in_rows_and_columns_under_their_words():
    red, green, blue = (one_colour(*rgb) for rgb in ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
    over = one_colour(100, 100, 100, over=True)
    made = frame(("hopper", "step 3"), ((red, green), (blue, over)))
    assert made.size == (2 * WIDTH, TOP + 2 * (ABOVE + HEIGHT))
    pixels = np.asarray(made)
    first, second = TOP + ABOVE, TOP + 2 * ABOVE + HEIGHT
    for (y, x), colour in {
        (first, 0): (200, 0, 0),
        (first, WIDTH): (0, 200, 0),
        (second, 0): (0, 0, 200),
        (second, WIDTH): (40, 40, 40),  # what moves no more is darker
    }.items():
        picture = pixels[y : y + HEIGHT, x : x + WIDTH]
        np.testing.assert_array_equal(picture, np.broadcast_to(colour, picture.shape))
    paper = np.array([int(PAPER[i : i + 2], 16) for i in (1, 3, 5)])
    lines = [0, LINE, *(y - ABOVE for y in (first, second)), *(y - LINE for y in (first, second))]
    for line in lines:
        words = pixels[line + 2 : line + LINE, :WIDTH]
        assert (words != paper).any(axis=2).sum() > 20, line


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_a_file_gives_back_its_frames_and_their_times(tmp_path):
    shades = (40, 120, 120, 220)
    frames = [frame(("t",), ((one_colour(shade, shade, shade),),)) for shade in shades]
    save(frames, tmp_path / "watch.avif", [40, 40, 40, 1500])
    assert [path.name for path in tmp_path.iterdir()] == ["watch.avif"]
    with Image.open(tmp_path / "watch.avif") as back:
        assert (back.n_frames, back.size) == (4, frames[0].size)
        for number, shade in enumerate(shades):
            back.seek(number)
            back.load()
            assert back.info["duration"] == (1500 if number == 3 else 40)
            np.testing.assert_allclose(np.asarray(back.convert("RGB"))[-10, WIDTH // 2], shade, atol=6)


def test_a_pillow_without_avif_is_told_of(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(SpecError, match="this Pillow cannot write AVIF; pip install"):
        check_writable()
