"""The lines of `make classify`: which request they answer, and which files have one."""

import csv
import fcntl
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from classifier.contract.strict_json import JsonObject
from tools.folders import heic_hint, listed

SKIPPED = "skipped"
# The code of an error: the file's format isn't taken.
UNSUPPORTED = "unsupported_media_type"


def has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


@contextmanager
def claimed(lines: Path, output: Path, request: JsonObject) -> Iterator[None]:
    """Results of two requests never share a file, nor do two runs at once. Exits if they would.

    `output`: the file that is made of the lines, if it isn't the lines themselves.
    """
    request_file = lines.with_name(lines.name + ".request.json")
    if has_content(lines) and not request_file.exists():
        sys.exit(
            f"{lines} exists, and {request_file}, which says what make classify was asked, is"
            " missing. Name another OUTPUT, or remove the file."
        )
    if output != lines and has_content(output) and not has_content(lines):
        sys.exit(
            f"{output} exists, and {lines}, of which it is made, is missing. Name another OUTPUT,"
            f" or remove {output}."
        )
    with request_file.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another make classify writes {lines}. Wait for it, or name another OUTPUT.")
        except OSError as err:
            # Some network file systems have no locks.
            warning = f"A second run that writes {lines} won't be refused: {err.strerror}."
            print(warning, file=sys.stderr)
        file.seek(0)
        text = json.dumps(request, sort_keys=True)
        if file.read() != text:
            if has_content(lines):
                sys.exit(
                    f"{lines} has results of other labels, options, another folder or model. Name"
                    " another OUTPUT, or remove it."
                )
            file.truncate(0)
            file.write(text)
            file.flush()
        yield


def finished(lines: Path) -> dict[tuple[str, str], str]:
    """SKIPPED, the code of the error or "" for the key and ETag of every line. Removes a line that
    was cut off. Exits if a line isn't a result.
    """
    done = dict[tuple[str, str], str]()
    whole = 0
    if not lines.exists():
        return done
    with lines.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                value = json.loads(line)
                outcome = SKIPPED if SKIPPED in value else value.get("error", {}).get("code", "")
                done[value["key"], value["etag"]] = outcome
            except (ValueError, KeyError, TypeError, AttributeError):
                sys.exit(
                    f"{lines}, line {number} is not a result of make classify. Name another OUTPUT."
                )
    os.truncate(lines, whole)
    return done


def newest(lines: Path) -> Iterator[dict[str, Any]]:
    """The last line of each file. One that has changed since has several, and so has a HEIC file
    that was skipped at first.
    """
    with lines.open("rb") as file:
        last = {json.loads(line)["key"]: number for number, line in enumerate(file)}
        file.seek(0)
        for number, line in enumerate(file):
            value = json.loads(line)
            if last[value["key"]] == number:
                yield value


def printable(key: str) -> str:
    r"""A key as text. A file's name needn't be UTF-8: its other bytes become such as \xfc."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_csv(lines: Path, output: Path) -> None:
    """A row for each file, with its best label and the decision: its action, and the names that
    count with `;` between them, as in the CSV file of a run over a bucket.
    """
    partial = output.with_name(output.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["key", "label", "probability", "action", "counts", "error", SKIPPED])
        for value in newest(lines):
            best = max(
                value.get("result", {}).items(), key=lambda found: found[1], default=("", "")
            )
            decision = value.get("decision", {"labels": [], "action": None})
            counts = ";".join(entry["name"] for entry in decision["labels"])
            error = value.get("error", {}).get("message", "")
            decided = (decision["action"] or "", counts)
            rows.writerow([printable(value["key"]), *best, *decided, error, value.get(SKIPPED, "")])
    partial.replace(output)


def summary(lines: Path, new: int) -> str:
    """How many files have a result, an error or neither, and where the errors are. `new`: how many
    lines this run has written.
    """
    classified = 0
    skipped = Counter[str]()
    errors = list[str]()
    for value in newest(lines):
        if SKIPPED in value:
            skipped[value[SKIPPED]] += 1
        elif "error" in value:
            errors.append(f"{printable(value['key'])}: {value['error']['message']}")
        else:
            classified += 1
    total = classified + len(errors) + skipped.total()
    text = (
        f"{total:,} {'file' if total == 1 else 'files'}, {new:,} of them read by this run:"
        f" {classified:,} classified, {len(errors):,} with an error, {skipped.total():,} skipped"
    )
    text += f" ({listed(skipped)}).{heic_hint(skipped)}" if skipped else "."
    if errors:
        text += f'\nErrors are the lines with "error" in {lines}, such as of {errors[0]}'
    return text
