"""Videos: pictures in rows and columns with words above each, as one AVIF image sequence.

Browsers play it as they show any picture, so a page can hold it; and Pillow, which Matplotlib brings, writes
it, so that no encoder has to be installed. It is AV1 inside: half the size of an animated WebP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, features

from jaxprune.errors import SpecError
from jaxprune.files import in_one_piece

LINE = 18
"""Pixels of a line of words."""

PAPER, INK, ALARM = "#15181c", "#f2f2f2", "#ffb000"

QUALITY, SPEED = 40, 8
"""Of the pictures, out of 100: drawn bodies are clear, and at 50 a video is 1.4 times as large. And of the
encoder, out of 10: at 6 it takes fifteen times as long, for a little less."""


@dataclass(frozen=True)
class Tile:
    """A picture with two lines above it. over: it moves no more, so it is darker, and its note stands out."""

    picture: UInt8[np.ndarray, "height width 3"]
    heading: str
    note: str
    over: bool = False


def frame(title: Sequence[str], rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """Lines of a title over rows of tiles of one size."""
    height, width, _ = rows[0][0].picture.shape
    top, high = LINE * len(title) + 4, height + 2 * LINE
    made = Image.new("RGB", (width * len(rows[0]), top + high * len(rows)), PAPER)
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(13)
    for number, line in enumerate(title):
        draw.text((6, 2 + LINE * number), line, INK, font)
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            x, y = width * column, top + high * row
            draw.text((x + 6, y + 1), tile.heading, INK, font)
            draw.text((x + 6, y + LINE), tile.note, ALARM if tile.over else INK, font)
            picture = Image.fromarray(np.ascontiguousarray(tile.picture))
            made.paste(ImageEnhance.Brightness(picture).enhance(0.4 if tile.over else 1.0), (x, y + 2 * LINE))
    return made


def check_writable() -> None:
    """Raise SpecError where Pillow was built without AVIF."""
    if not features.check("avif"):
        raise SpecError("watch: this Pillow cannot write AVIF; pip install --upgrade pillow, 11.3 or newer")


def save(frames: Sequence[Image.Image], path: Path, milliseconds: Sequence[int]) -> None:
    """Write the frames, each shown so long. Raises SpecError where they cannot be written."""
    first, *others = frames
    how = {"quality": QUALITY, "speed": SPEED, "duration": list(milliseconds)}
    in_one_piece(path, lambda part: first.save(part, "AVIF", save_all=True, append_images=others, **how))
