"""Draws the sample images in examples/images, in the export environment: `python -m
dev.demo_model.samples`.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dev.demo_model.drawings import corners, sprites
from dev.demo_model.emoji import emoji
from dev.demo_model.shapes import COLOURS

FOLDER = Path(__file__).parent.parent.parent / "examples" / "images"
SIDE = 440


def backdrop(*colours: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.array([colours], np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )


def drawing(name: str, *colours: tuple[int, int, int]) -> Image.Image:
    index = next(i for i, one in enumerate(emoji()) if one.name == name)
    glyph = sprites(index)[0].resize((330, 330), Image.Resampling.LANCZOS)
    image = backdrop(*colours)
    shadow = Image.new("RGBA", glyph.size, (0, 0, 0, 0))
    shadow.putalpha(
        glyph.getchannel("A").point(lambda alpha: alpha // 4).filter(ImageFilter.GaussianBlur(8))
    )
    image.paste(shadow, (63, 67), shadow)
    image.paste(glyph, (55, 55), glyph)
    return image


def stars() -> Image.Image:
    image = backdrop(COLOURS["blue"], COLOURS["blue"])
    pen = ImageDraw.Draw(image)
    for x, y, turn in ((130, 130, 0.1), (310, 160, -0.1), (200, 320, 0.05)):
        pen.polygon(corners("star", x, y, 85, turn), fill=COLOURS["red"])
    return image.filter(ImageFilter.GaussianBlur(0.7))


def wide() -> Image.Image:
    """A thumbnail whose centre crop loses what it shows."""
    image = backdrop((206, 232, 200), (170, 214, 232)).resize((440, 248))
    dog = drawing("dog face", (206, 232, 200), (206, 232, 200)).resize(
        (160, 160), Image.Resampling.LANCZOS
    )
    image.paste(dog, (0, 44))
    return image


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    samples = {
        "dog": drawing("dog face", (206, 232, 200), (170, 214, 232)),
        "pizza": drawing("pizza", (250, 240, 222), (232, 214, 190)),
        "stars": stars(),
        "wide": wide(),
    }
    for name, image in samples.items():
        image.save(FOLDER / f"{name}.jpg", quality=90)
    # Small enough to stand in a document.
    stars().reduce(8).quantize(16).save(FOLDER / "stars-small.png", optimize=True)
