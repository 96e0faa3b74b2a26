"""Near-copies: which are found, and which different images are taken for one."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dev.demo_model.drawings import FONT, image_of
from dev.demo_model.emoji import emoji
from tests.support.labelled import LABELS, draw
from tests.support.programs import exit_status
from tests.support.requests import DEMO, ROOT
from tools.evaluate.__main__ import main as evaluate
from tools.evaluate.copies import near_copies, small_versions
from tools.evaluate.learn.__main__ import main as learn

PHOTOGRAPHS = sorted((ROOT / "export" / "judging" / "pictures").rglob("*.jpg"))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def thumbnail(image: Image.Image, side: int) -> bytes:
    small = image.copy()
    small.thumbnail((side, side))
    return saved(small, "JPEG", quality=75)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG of quality 30": lambda image: saved(image, "JPEG", quality=30),
    "WebP of quality 40": lambda image: saved(image, "WEBP", quality=40),
    "GIF of 64 colours": lambda image: saved(image.quantize(64), "GIF"),
    "a thumbnail of 48 pixels": lambda image: thumbnail(image, 48),
    "a thumbnail of 160 pixels": lambda image: thumbnail(image, 160),
    "twice as large": lambda image: saved(image.resize((2 * image.width, 2 * image.height)), "PNG"),
}


def numbers(folder: Path, contents: dict[str, bytes]) -> dict[str, int]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    found = small_versions({name: folder / name for name in contents}, 2)
    return dict(
        zip(contents, near_copies([found.get(name) for name in contents]).tolist(), strict=True)
    )


def check(images: list[Image.Image], folder: Path) -> None:
    originals = {f"{i}": saved(image, "PNG") for i, image in enumerate(images)}
    alone = numbers(folder, originals)
    assert len(set(alone.values())) == len(images)
    for kind, copy in COPIES.items():
        copied = {f"{i} {kind}": copy(image) for i, image in enumerate(images)}
        found = numbers(folder, originals | copied)
        assert [i for i in originals if found[i] != found[f"{i} {kind}"]] == [], kind
        assert len(set(found.values())) == len(images), kind


def test_copies_of_photographs_are_found_and_different_ones_are_kept_apart(tmp_path: Path) -> None:
    check([Image.open(path).convert("RGB") for path in PHOTOGRAPHS], tmp_path)


@pytest.mark.skipif(not FONT.exists(), reason="needs fonts-noto-color-emoji")
def test_copies_of_240_drawings_are_found_and_different_ones_are_kept_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    check(
        [
            Image.fromarray(image_of(rng, frozenset([int(i)])))
            for i in rng.permutation(len(emoji()))[:240]
        ],
        tmp_path,
    )


def test_images_of_one_colour_are_copies_only_if_it_is_nearly_the_same(tmp_path: Path) -> None:
    colours = {
        "black": (0, 0, 0),
        "white": (255, 255, 255),
        "red": (200, 0, 0),
        "darker": (190, 4, 2),
        "blue": (0, 0, 200),
    }
    found = numbers(
        tmp_path,
        {
            name: saved(Image.new("RGB", (40, 30), colour), "PNG")
            for name, colour in colours.items()
        },
    )
    assert found["red"] == found["darker"]
    assert len(set(found.values())) == 4


def test_the_same_shape_in_another_colour_is_another_image(tmp_path: Path) -> None:
    def square(colour: str) -> bytes:
        image = Image.new("RGB", (96, 96), "white")
        image.paste(colour, (16, 16, 80, 80))
        return saved(image, "PNG")

    assert (
        len(
            set(
                numbers(
                    tmp_path,
                    {colour: square(colour) for colour in ("red", "blue", "green", "grey")},
                ).values()
            )
        )
        == 4
    )


def test_an_image_that_cannot_be_decoded_resembles_no_other() -> None:
    assert near_copies([None, None]).tolist() == [0, 1]
    assert near_copies([]).tolist() == []


@pytest.fixture
def common_options(tmp_path: Path) -> list[object]:
    return [
        "--cache",
        tmp_path / "cache.sqlite3",
        "--report",
        tmp_path / "report.html",
        "--bundle",
        DEMO,
        "--processes",
        1,
    ]


def with_thumbnails(folder: Path) -> None:
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            for side in (40, 48):
                path.with_name(f"{path.stem} {side}.jpg").write_bytes(thumbnail(image, side))


def test_thumbnails_are_no_evidence_of_their_own(
    tmp_path: Path, common_options: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "pictures"
    draw(images, each=10, seed=3)
    options = [images, "--labels", ",".join(LABELS), "--recall", 0.9, *common_options]
    assert exit_status(evaluate, *options) == 0
    plain = capsys.readouterr().out
    assert "No threshold keeps its guarantee." in plain
    with_thumbnails(images)
    assert exit_status(evaluate, *options) == 0
    out = capsys.readouterr().out
    assert "90 images are near-copies" in out
    assert "each of which counts as one piece of evidence" in out
    assert "No threshold keeps its guarantee." in out
    groups = re.search(r"(\d+) groups count once", out)
    assert groups and 25 <= int(groups[1]) <= 30


def test_a_head_is_not_judged_on_near_copies_of_what_taught_it(
    tmp_path: Path, common_options: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    images, classifier = tmp_path / "pictures", tmp_path / "mine.json"
    draw(images, each=10, seed=3)
    assert (
        exit_status(
            learn,
            images,
            "--labels",
            ",".join(LABELS),
            "--save",
            classifier,
            "--anyway",
            *common_options,
        )
        == 0
    )
    with_thumbnails(images)
    draw(tmp_path / "new", each=10, seed=4)
    for path in (tmp_path / "new").rglob("*.png"):
        path.rename(images / path.parent.name / f"new {path.name}")
    capsys.readouterr()
    assert exit_status(evaluate, images, "--classifier", classifier, *common_options) == 0
    out = capsys.readouterr().out
    assert "30 images are left out, since the classifier learned from them." in out
    left_out = re.search(
        r"(\d+) images are left out, since the classifier learned from near-copies", out
    )
    assert left_out and int(left_out[1]) >= 60


def test_near_copies_under_different_labels_are_named_first(
    tmp_path: Path, common_options: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "pictures"
    draw(images, each=4, seed=3)
    with_thumbnails(images)
    moved = sorted((images / LABELS[2]).glob("* 48.jpg"))[0]
    moved.rename(images / LABELS[0] / moved.name)
    assert exit_status(evaluate, images, "--labels", ",".join(LABELS), *common_options) == 0
    lines = capsys.readouterr().out.splitlines()
    [first] = [i for i, line in enumerate(lines) if "near-copies" in line]
    assert moved.name in lines[first + 1]
    assert lines[first + 1].endswith(", under different labels")
    assert "different labels" not in lines[first + 2]


def test_a_missing_file_is_named_with_its_line(
    tmp_path: Path, common_options: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "pictures", each=2)
    rows = [f"{path},{path.parent.name}" for path in sorted((tmp_path / "pictures").rglob("*.png"))]
    file = tmp_path / "labels.csv"
    file.write_text(
        "\n".join(["path,label", rows[0], f"gone.png,{LABELS[0]}", *rows[1:]]), encoding="utf-8"
    )
    assert exit_status(evaluate, file, "--labels", ",".join(LABELS), *common_options) == 0
    assert (
        f"gone.png: can't be read: No such file or directory ({file}, line 3)"
        in capsys.readouterr().out
    )
