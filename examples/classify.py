"""Sorts pictures by labels of your own: files and folders in, a table, CSV or JSON out."""

import argparse
import csv
import json
import os
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import client

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif"}
MAX_IMAGES = 64
MAX_PIXELS = 100_000_000
BAR = 30


@dataclass(frozen=True)
class Picture:
    """A file as it will be sent, in base64; or why it can't be."""

    name: str
    encoded: str = ""
    pixels: int = 0
    error: str = ""


@dataclass(frozen=True)
class Row:
    file: str
    result: dict[str, float]
    error: str = ""


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they were named, folders as the pictures anywhere in them."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("[!.]*") if file.suffix.lower() in SUFFIXES and file.is_file())
        else:
            yield path


def passed_over(paths: Iterable[Path]) -> Counter[str]:
    """How many files in the folders are not sent, by their ending."""
    rest = (file for path in paths if path.is_dir() for file in path.rglob("*") if file.is_file())
    return Counter(
        "hidden" if file.name.startswith(".") else file.suffix.lower() or "without an ending"
        for file in rest
        if file.name.startswith(".") or file.suffix.lower() not in SUFFIXES
    )


def read(path: Path, side: int = client.SHORT_SIDE) -> Picture:
    # A name need not be UTF-8, and what prints it insists.
    name = os.fsencode(path).decode(errors="backslashreplace")
    try:
        data, pixels = client.shrunk(path.read_bytes(), side)
    except OSError as err:
        return Picture(name, error=f"can't be read: {err.strerror}")
    encoded = b64encode(data).decode()
    if len(encoded) > client.MAX_BASE64:
        most = client.MAX_BASE64 * 3 // 4 / 1e6
        return Picture(
            name, error=f"has {len(data) / 1e6:.1f} MB, couldn't be shrunk here, and at most {most} MB are sent; shrink it."
        )
    return Picture(name, encoded, pixels)


def batches(pictures: Iterable[Picture], most: int = MAX_IMAGES) -> Iterator[list[Picture]]:
    """What fits into one call each, in order."""
    batch: list[Picture] = []
    size = pixels = 0
    for picture in pictures:
        full = len(batch) >= most or size + len(picture.encoded) > client.MAX_BASE64 or pixels + picture.pixels > MAX_PIXELS
        if batch and full:
            yield batch
            batch, size, pixels = [], 0, 0
        batch.append(picture)
        size, pixels = size + len(picture.encoded), pixels + picture.pixels
    if batch:
        yield batch


def progress(text: str) -> None:
    """In place of the last, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@dataclass
class Run:
    """The rows of all files, a call at a time; counts what is done and what failed."""

    call: Callable[[list[str]], list[dict[str, Any]]]
    total: int
    done: int = 0
    failed: int = 0

    def rows(self, calls: Iterable[list[Picture]]) -> Iterator[Row]:
        try:
            for batch in calls:
                encoded = [picture.encoded for picture in batch if not picture.error]
                answers = iter(self.call(encoded) if encoded else [])
                progress("")
                for picture in batch:
                    answer: dict[str, Any] = {"error": {"message": picture.error}} if picture.error else next(answers)
                    row = Row(picture.name, answer.get("result", {}), answer.get("error", {}).get("message", ""))
                    self.done, self.failed = self.done + 1, self.failed + bool(row.error)
                    yield row
                filled = BAR * self.done // self.total
                progress(f"[{'#' * filled:<{BAR}}] {self.done}/{self.total}")
        finally:
            progress("")


def as_table(rows: Iterable[Row], files: Sequence[Path], labels: Sequence[str]) -> None:
    width, wide = max(len(str(file)) for file in files), max(map(len, labels))
    for row in rows:
        ranked = sorted(row.result.items(), key=lambda pair: -pair[1])
        said = "   ".join(f"{label:<{wide}} {share:7.2%}" for label, share in ranked)
        print(f"{row.file:<{width}}  {f'error: {row.error}' if row.error else said}")


def as_csv(rows: Iterable[Row], files: Sequence[Path], labels: Sequence[str]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["file", *labels, "error"])
    out.writerows([row.file, *(row.result.get(label, "") for label in labels), row.error] for row in rows)


def as_json(rows: Iterable[Row], files: Sequence[Path], labels: Sequence[str]) -> None:
    """A list with one object a line, whole even where it ends early."""
    before = "["
    try:
        for row in rows:
            told: dict[str, object] = {"error": row.error} if row.error else {"result": row.result}
            print(before, json.dumps({"file": row.file} | told), sep="", end="")
            before = ",\n "
    finally:
        print("]" if before != "[" else "[]")


FORMS = {"table": as_table, "csv": as_csv, "json": as_json}


def arguments() -> argparse.ArgumentParser:
    parser = client.arguments(__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help=f"in folders: {' '.join(sorted(SUFFIXES))}")
    parser.add_argument("--labels", type=client.listed, default=[], help='separated by commas: "a dog,a cat"')
    parser.add_argument("--label", action="append", default=[], help="one more, which may hold commas; repeat it for several")
    parser.add_argument("--templates", action="append", help='such as "a photo of {}"; repeat it for several')
    parser.add_argument(
        "--multi-label", action="store_true", default=None, help="judge every label alone: a picture may show several"
    )
    parser.add_argument("--negative-template", help='with --multi-label, what stands for absence; default: "no {}"')
    parser.add_argument("--fit", choices=("crop", "pad", "squash", "tiles"), help="how a picture that isn't square is seen")
    parser.add_argument("--top-k", type=int, help="keep the best so many labels")
    parser.add_argument("--min-probability", type=float, help="drop labels below this, such as 0.2")
    parser.add_argument("--output", choices=FORMS, default="table")
    parser.add_argument("--batch", type=int, default=MAX_IMAGES, help=f"most pictures a call; default: {MAX_IMAGES}")
    side = f"pixels that large pictures are shrunk to; default: {client.SHORT_SIDE}; at least twice what the model sees"
    parser.add_argument("--short-side", type=int, default=client.SHORT_SIDE, help=side)
    return parser


def main(words: Sequence[str] | None = None, patience: type[client.Patience] = client.Patience) -> None:
    parser = arguments()
    asked = parser.parse_args(words)
    labels, files = [*asked.labels, *asked.label], list(dict.fromkeys(files_in(asked.paths)))
    if not labels:
        parser.error('say what to look for: --labels "a dog,a cat", or --label for one that holds a comma')
    if not files:
        parser.error(f"there is no picture in {', '.join(map(str, asked.paths))}; looked for {' '.join(sorted(SUFFIXES))}")
    options = ("templates", "multi_label", "negative_template", "fit", "top_k", "min_probability")
    question = {"labels": labels} | {name: getattr(asked, name) for name in options if getattr(asked, name) is not None}
    opened, warned = client.session(asked.api_key, patience), False

    def call(images: list[str]) -> list[dict[str, Any]]:
        nonlocal warned
        results, model = client.ask(opened, asked.endpoint, question | {"images": images}, "results")
        if model == "demo" and not warned:
            warned = True
            progress("")
            print(client.ONLY_DRAWINGS, file=sys.stderr)
        found: list[dict[str, Any]] = results
        return found

    run = Run(call, len(files))
    try:
        FORMS[asked.output](run.rows(batches((read(file, asked.short_side) for file in files), asked.batch)), files, labels)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the rows, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"Interrupted after {run.done} of {run.total} files.", file=sys.stderr)
        sys.exit(130)
    if skipped := passed_over(asked.paths):
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        print(
            f"Passed over {skipped.total()} files, which are not sent: {kinds}. Sent: {' '.join(sorted(SUFFIXES))}",
            file=sys.stderr,
        )
    if run.failed:
        sys.exit(f"{run.failed} of {run.total} files failed.")


if __name__ == "__main__":
    main()
