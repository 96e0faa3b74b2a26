"""Classifies image files and folders by labels of your own and prints a table, CSV or JSON."""

import argparse
import os
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import client
from folders import find_images
from outputs import OUTPUTS, Row

MAX_IMAGES = 64
MAX_PIXELS = 100_000_000
PROGRESS_WIDTH = 30


@dataclass(frozen=True)
class EncodedImage:
    """A file in base64, ready to send, or the reason why it can't be sent."""

    name: str
    encoded: str = ""
    pixels: int = 0
    error: str = ""


def find_files(
    paths: Iterable[Path], exclude: Sequence[str] = ()
) -> tuple[list[Path], Counter[str]]:
    """The files themselves and the images anywhere in the folders, each once, and how many others
    the folders have, by reason.
    """
    found = list[Path]()
    others = Counter[str]()
    for path in paths:
        images, rest = find_images(path, exclude) if path.is_dir() else ([path], Counter())
        found += images
        others += rest
    return list(dict.fromkeys(found)), others


def passed_over(others: Counter[str]) -> str:
    """One line, empty if no file was passed over."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in others.most_common())
    return f"Passed over, not sent: {reasons}." if others else ""


def read(path: Path, side: int = client.SHORT_SIDE) -> EncodedImage:
    name = str(path)
    try:
        data, pixels = client.shrink(path.read_bytes(), side)
    except OSError as err:
        return EncodedImage(name, error=f"can't be read: {err.strerror}")
    encoded = b64encode(data).decode()
    if len(encoded) > client.MAX_BASE64:
        maximum = client.MAX_BASE64 * 3 // 4 / 1e6
        message = (
            f"has {len(data) / 1e6:.1f} MB and couldn't be shrunk here; at most {maximum} MB can be"
            " sent. Shrink it first."
        )
        return EncodedImage(name, error=message)
    return EncodedImage(name, encoded, pixels)


def batches(
    images: Iterable[EncodedImage], maximum: int = MAX_IMAGES
) -> Iterator[list[EncodedImage]]:
    """Images in order, grouped so that each group fits into one call."""
    batch: list[EncodedImage] = []
    size = pixels = 0
    for image in images:
        full = (
            len(batch) >= maximum
            or size + len(image.encoded) > client.MAX_BASE64
            or pixels + image.pixels > MAX_PIXELS
        )
        if batch and full:
            yield batch
            batch = []
            size = 0
            pixels = 0
        batch.append(image)
        size = size + len(image.encoded)
        pixels = pixels + image.pixels
    if batch:
        yield batch


def progress(text: str) -> None:
    """Replaces the last progress line, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@dataclass
class Run:
    """Makes the rows of all files, one call at a time; counts the finished and the failed ones."""

    call: Callable[[list[str]], list[dict[str, Any]]]
    total: int
    done: int = 0
    failed: int = 0

    def rows(self, calls: Iterable[list[EncodedImage]]) -> Iterator[Row]:
        try:
            for batch in calls:
                encoded = [image.encoded for image in batch if not image.error]
                answers = iter(self.call(encoded) if encoded else [])
                progress("")
                for image in batch:
                    answer: dict[str, Any] = (
                        {"error": {"message": image.error}} if image.error else next(answers)
                    )
                    row = Row(
                        image.name,
                        answer.get("result", {}),
                        answer.get("error", {}).get("message", ""),
                    )
                    self.done = self.done + 1
                    self.failed = self.failed + bool(row.error)
                    yield row
                filled = PROGRESS_WIDTH * self.done // self.total
                progress(f"[{'#' * filled:<{PROGRESS_WIDTH}}] {self.done}/{self.total}")
        finally:
            progress("")


def argument_parser() -> argparse.ArgumentParser:
    parser = client.argument_parser(__doc__)
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="in folders, the images by their first bytes",
    )
    parser.add_argument(
        "--labels", type=client.split_labels, default=[], help='separated by commas: "a dog,a cat"'
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        help="one label, which may contain commas; repeat for several",
    )
    parser.add_argument(
        "--templates", action="append", help='such as "a photo of {}"; repeat for several'
    )
    multi_label_help = "judge each label on its own, for images that may show several"
    parser.add_argument("--multi-label", action="store_true", default=None, help=multi_label_help)
    parser.add_argument(
        "--negative-template",
        help=(
            'with --multi-label, the text that stands for the absence of a label; default: "no {}"'
        ),
    )
    parser.add_argument(
        "--fit", choices=("crop", "pad", "squash", "tiles"), help="how to make an image square"
    )
    parser.add_argument("--top-k", type=int, help="keep this many labels, the most likely first")
    parser.add_argument("--min-probability", type=float, help="drop labels below this, such as 0.2")
    parser.add_argument("--output", choices=OUTPUTS, default="table")
    parser.add_argument(
        "--batch",
        type=int,
        default=MAX_IMAGES,
        help=f"maximum number of images in a call; default: {MAX_IMAGES}",
    )
    side_help = (
        f"large images are resized to this many pixels; default: {client.SHORT_SIDE}; use at least"
        " twice what the model sees"
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help='pass over files and folders such as "*.gif"; may be repeated',
    )
    parser.add_argument("--short-side", type=int, default=client.SHORT_SIDE, help=side_help)
    return parser


def main(argv: Sequence[str] | None = None, backoff: type[client.Backoff] = client.Backoff) -> None:
    parser = argument_parser()
    arguments = parser.parse_args(argv)
    labels = [*arguments.labels, *arguments.label]
    files, others = find_files(arguments.paths, arguments.exclude)
    if not labels:
        parser.error(
            'labels are missing: add --labels "a dog,a cat", or --label for one that contains a'
            " comma"
        )
    if not files:
        where = ", ".join(map(str, arguments.paths))
        parser.error(f"there is no image in {where}. {passed_over(others)}".rstrip())
    client.note_single(labels, arguments.multi_label)
    options = ("templates", "multi_label", "negative_template", "fit", "top_k", "min_probability")
    fields = {"labels": labels} | {
        name: getattr(arguments, name) for name in options if getattr(arguments, name) is not None
    }
    session = client.open_session(arguments.api_key, backoff)
    announced = False

    def call(images: list[str]) -> list[dict[str, Any]]:
        nonlocal announced
        results, model = client.post(
            session, arguments.endpoint, fields | {"images": images}, "results"
        )
        if not announced:
            announced = True
            progress("")
            print(client.model_line(model), file=sys.stderr)
        answers: list[dict[str, Any]] = results
        return answers

    run = Run(call, len(files))
    try:
        OUTPUTS[arguments.output](
            run.rows(
                batches((read(file, arguments.short_side) for file in files), arguments.batch)
            ),
            files,
            labels,
        )
        sys.stdout.flush()
    except BrokenPipeError:  # The reader, such as `head`, has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"Interrupted after {run.done} of {run.total} files.", file=sys.stderr)
        sys.exit(130)
    if others:
        print(passed_over(others), file=sys.stderr)
    if run.failed:
        sys.exit(f"{run.failed} of {run.total} files failed.")


if __name__ == "__main__":
    main()
