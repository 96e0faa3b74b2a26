"""Drawings of the demo model's world: emoji and coloured shapes on backgrounds."""

import io
import math
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dev.demo_model.emoji import emoji
from dev.demo_model.shapes import COLOURS, Shapes
from dev.demo_model.world import Facts

SIZE = 64
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


@cache
def sprites(index: int) -> list[Image.Image]:
    """The emoji at 136, 68 and 34 pixels: drawing from the next larger one keeps small ones from
    aliasing.
    """
    font = ImageFont.truetype(str(FONT), 109)
    left, top, right, bottom = font.getbbox(emoji()[index].characters)
    full = Image.new("RGBA", (136, 136), (128, 128, 128, 0))
    corner = (68 - (left + right) / 2, 68 - (top + bottom) / 2)
    ImageDraw.Draw(full).text(corner, emoji()[index].characters, font=font, embedded_color=True)
    return [full, full.reduce(2), full.reduce(4)]


def paste(
    canvas: Image.Image,
    index: int,
    centre: tuple[float, float],
    side: float,
    degrees: float,
    mirror: bool,
) -> None:
    level = next((s for s in reversed(sprites(index)) if s.width >= side), sprites(index)[0])
    scale = level.width / side
    cos = math.cos(math.radians(degrees)) * scale
    sin = math.sin(math.radians(degrees)) * scale
    flip = -1 if mirror else 1
    x, y, half = *centre, level.width / 2
    affine = (
        flip * cos,
        flip * sin,
        half - flip * (cos * x + sin * y),
        -sin,
        cos,
        half + sin * x - cos * y,
    )
    drawn = level.transform(canvas.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    canvas.paste(drawn, (0, 0), drawn)


def background(rng: np.random.Generator, size: int = SIZE) -> Image.Image:
    """Plain colours (half of all, often white), gradients, soft blotches, stripes and noise."""
    kind = rng.random()
    if kind < 0.2:
        return Image.new("RGB", (size, size), (255, 255, 255))
    first, second = rng.integers(0, 256, (2, 3))
    if kind < 0.5:
        return Image.new("RGB", (size, size), tuple(int(v) for v in first))
    if kind < 0.7:
        cells = rng.integers(
            0, 256, (int(rng.integers(2, 6)), int(rng.integers(2, 6)), 3), dtype=np.uint8
        )
        return Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC)
    y, x = np.mgrid[0:size, 0:size] / size
    turn = rng.uniform(0, 2 * math.pi)
    wave = math.cos(turn) * x + math.sin(turn) * y
    if kind < 0.85:
        mix = (wave - wave.min()) / np.ptp(wave)
    elif kind < 0.95:
        mix = np.sin(wave * rng.uniform(10, 50)) > 0
    else:
        mix = rng.random((size, size))
    return Image.fromarray((first + (second - first) * mix[..., None]).astype(np.uint8))


def corners(shape: str, x: float, y: float, r: float, turn: float) -> list[tuple[float, float]]:
    count = {"triangle": 3, "square": 4, "diamond": 4, "hexagon": 6, "star": 10, "cross": 12}[shape]
    radii = [
        r * (0.42 if shape == "star" and i % 2 else 0.7 if shape == "diamond" and i % 2 else 1.0)
        for i in range(count)
    ]
    angles = [turn + 2 * math.pi * i / count for i in range(count)]
    if shape == "square":
        angles = [a + math.pi / 4 for a in angles]
    if shape == "cross":
        arm = 0.33
        flat = [
            (1, -arm),
            (1, arm),
            (arm, arm),
            (arm, 1),
            (-arm, 1),
            (-arm, arm),
            (-1, arm),
            (-1, -arm),
            (-arm, -arm),
            (-arm, -1),
            (arm, -1),
            (arm, -arm),
        ]
        radii = [r * 0.95 * math.hypot(*p) for p in flat]
        angles = [turn + math.atan2(b, a) for a, b in flat]
    return [(x + q * math.sin(a), y - q * math.cos(a)) for q, a in zip(radii, angles, strict=True)]


def draw_shapes(rng: np.random.Generator, facts: Shapes, size: int = SIZE) -> Image.Image:
    zoom = 4

    def near(name: str) -> tuple[int, ...]:
        return tuple(
            int(v) for v in np.clip(np.array(COLOURS[name]) + rng.integers(-14, 15, 3), 0, 255)
        )

    assert facts.number and facts.colour and facts.shape and facts.background
    canvas = Image.new("RGB", (size * zoom, size * zoom), near(facts.background))
    pen = ImageDraw.Draw(canvas)
    colour = near(facts.colour)
    across = 1 if facts.number == 1 else 2 if facts.number <= 4 else 3
    cells = rng.permutation(across * across)[: facts.number]
    cell = size * zoom / across
    for place in cells:
        r = cell * rng.uniform(0.28, 0.46)
        x, y = (
            cell * (p + 0.5) + rng.uniform(-1, 1) * (cell / 2 - r)
            for p in (place % across, place // across)
        )
        if facts.shape in ("circle", "ring"):
            pen.ellipse(
                (x - r, y - r, x + r, y + r),
                **({"fill": colour} if facts.shape == "circle" else {}),
                outline=colour,
                width=max(1, int(r * 0.3)),
            )
        else:
            pen.polygon(corners(facts.shape, x, y, r, rng.normal(0, 0.12)), fill=colour)
    return canvas.reduce(zoom)


def degrade(rng: np.random.Generator, image: Image.Image) -> np.ndarray:
    """Adds at random a colour cast, blur, noise and JPEG artefacts."""
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    pixels = np.asarray(image, np.float32)
    if rng.random() < 0.7:
        pixels = pixels * rng.normal(1, 0.07, 3).astype(np.float32) + rng.normal(0, 6)
    if rng.random() < 0.3:
        pixels = pixels + rng.normal(0, rng.uniform(2, 10), pixels.shape).astype(np.float32)
    degraded = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        file = io.BytesIO()
        Image.fromarray(degraded).save(file, "JPEG", quality=int(rng.integers(40, 95)))
        degraded = np.asarray(Image.open(file))
    return degraded


def image_of(rng: np.random.Generator, facts: Facts) -> np.ndarray:
    """A new image of the facts: uint8 [64, 64, 3]. One emoji takes 45 to 100 % of the side, several
    share it.
    """
    if isinstance(facts, Shapes):
        return degrade(rng, draw_shapes(rng, facts))
    canvas = background(rng)
    if len(facts) == 1:
        side = SIZE * rng.uniform(0.45, 1.0)
        slack = (SIZE - side) / 2 + 3
        centres = [SIZE / 2 + rng.uniform(-slack, slack, 2)]
    else:
        side = SIZE * rng.uniform(0.4, 0.55)
        cells = rng.permutation(4)[: len(facts)]
        centres = [
            SIZE * (np.array([c % 2, c // 2]) * 0.5 + 0.25) + rng.uniform(-3, 3, 2) for c in cells
        ]
    for index, centre in zip(facts, centres, strict=True):
        paste(
            canvas,
            index,
            tuple(centre),
            side * rng.uniform(0.9, 1.1),
            rng.normal(0, 12),
            rng.random() < 0.2,
        )
    return degrade(rng, canvas)
