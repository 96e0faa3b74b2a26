"""Measures which copies of an image are found, and which different images are joined.

It draws with Debian's fonts-noto-color-emoji; the photographs are the export's.
"""

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dev.demo_model.drawings import image_of
from dev.demo_model.emoji import emoji
from dev.demo_model.labelled import meant
from tools.evaluate.classifier_file import open_classifier
from tools.evaluate.copies import near_copies, small_versions

ROOT = Path(__file__).parent.parent.parent
PHOTOGRAPHS = ROOT / "export" / "pictures"
DRAWINGS = 240
# As in the folders that make drawings draws: eight labels of a few emoji each.
ALIKE = 2000
SHIFTS = (0.01, 0.02, 0.03)


def saved(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def thumbnail(side: int) -> Callable[[Image.Image], bytes]:
    def make(image: Image.Image) -> bytes:
        small = image.copy()
        small.thumbnail((side, side))
        return saved(small, "JPEG", quality=75)

    return make


def frame(shift: float) -> Callable[[Image.Image], bytes]:
    """The scene a moment later: moved by a share of its width and height, and a little nearer."""

    def make(image: Image.Image) -> bytes:
        zoom = 1 - shift / 2
        moved = (zoom, 0, shift * image.width, 0, zoom, shift * image.height)
        transform = Image.Transform.AFFINE
        return inner(image.transform(image.size, transform, moved, Image.Resampling.BICUBIC))

    return make


def inner(image: Image.Image) -> bytes:
    """Without the border, into which a movement brings what nobody has seen."""
    x, y = round(0.06 * image.width), round(0.06 * image.height)
    return saved(image.crop((x, y, image.width - x, image.height - y)), "JPEG", quality=85)


def plain(image: Image.Image) -> bytes:
    return saved(image, "PNG")


Make = Callable[[Image.Image], bytes]
COPIES: dict[str, tuple[Make, Make]] = {
    "JPEG of quality 75": (plain, lambda image: saved(image, "JPEG", quality=75)),
    "JPEG of quality 30": (plain, lambda image: saved(image, "JPEG", quality=30)),
    "WebP of quality 40": (plain, lambda image: saved(image, "WEBP", quality=40)),
    "GIF of 64 colours": (plain, lambda image: saved(image.quantize(64), "GIF")),
    **{f"thumbnail of {side} pixels": (plain, thumbnail(side)) for side in (160, 80, 48, 32)},
    "twice as large": (
        plain,
        lambda image: plain(image.resize((2 * image.width, 2 * image.height))),
    ),
    **{f"frame moved by {100 * shift:g} %": (inner, frame(shift)) for shift in SHIFTS},
}


def numbers(contents: Mapping[str, bytes]) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / str(i) for i, name in enumerate(contents)}
        for name, path in files.items():
            path.write_bytes(contents[name])
        found = small_versions(files)
    joined: list[int] = near_copies([found.get(name) for name in contents]).tolist()
    return joined


def missed(images: Sequence[Image.Image], make: tuple[Make, Make]) -> int:
    """Copies that don't join their original."""
    contents = {
        f"{i} {j}": each(image) for j, each in enumerate(make) for i, image in enumerate(images)
    }
    found = numbers(contents)
    return sum(found[i] != found[i + len(images)] for i in range(len(images)))


def merged(images: Sequence[Image.Image]) -> int:
    """Different images that join another one."""
    found = numbers({str(i): plain(image) for i, image in enumerate(images)})
    return len(found) - len(set(found))


def main() -> None:
    rng = np.random.default_rng(20_261_129)
    every = rng.permutation(len(emoji()))[:DRAWINGS]
    drawings = [Image.fromarray(image_of(rng, frozenset([int(index)]))) for index in every]
    labels = [meant(label) for label in open_classifier("drawings").names]
    chosen = [int(rng.choice(labels[i % len(labels)])) for i in range(ALIKE)]
    alike = [Image.fromarray(image_of(rng, frozenset([index]))) for index in chosen]
    photographs = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.rglob("*.jpg"))]
    print(f"| not found | of {len(drawings)} drawings | of {len(photographs)} photographs |")
    print("|---|---|---|")
    for kind, make in COPIES.items():
        print(f"| {kind} | {missed(drawings, make)} | {missed(photographs, make)} |", flush=True)
    print(f"| different images that were joined | {merged(drawings)} | {merged(photographs)} |")
    print(f"\nOf {ALIKE:,} drawings of {len(labels)} labels: {merged(alike)} joined another one.")


if __name__ == "__main__":
    main()
