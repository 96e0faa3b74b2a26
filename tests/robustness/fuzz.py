"""Coverage-guided fuzzing of bodies, queries and events of every kind, with atheris (libFuzzer). Run by: make fuzz

python -m tests.robustness.fuzz build/fuzz-corpus -max_total_time=3600
"""

import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["classifier"]):
    from classifier.body import read_body
    from classifier.errors import ClientError
    from classifier.events import Request, read_event, write_response
    from classifier.parsing import parse
    from classifier.schema import BINARY_TYPES

from tests.support.events import HTTP_EVENTS, QUESTION

TYPES = ["", "application/json", "text/plain", *BINARY_TYPES]
RESPONSE = {"statusCode": 200, "headers": {"a": "b"}, "body": "{}", "isBase64Encoded": False}


def fuzz(data: bytes) -> None:
    """The first byte says what the rest is. Nothing but a ClientError, with a message that isn't a library's, may come out."""
    kind, rest = data[:1] or b"\0", data[1:]
    try:
        if kind[0] % 3 == 0:
            try:
                event = json.loads(rest)
            except (ValueError, RecursionError):
                return
            request = read_event(event)
            write_response(event, RESPONSE)
        else:
            content_type = TYPES[kind[0] // 3 % len(TYPES)]
            body = rest if kind[0] % 3 == 1 else rest.decode("utf-8", "replace")
            request = Request("POST", "/", {"content-type": content_type}, {"labels": ["a", "b"]} if kind[0] > 127 else {}, body)
        parse(read_body(request), request.query)
    except ClientError as err:
        assert 400 <= err.status < 500
        assert len(json.dumps(err.body())) < 5_000


def write_seeds(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, event in enumerate((*HTTP_EVENTS.values(), QUESTION)):
        # A short body leaves the fuzzer's bytes for the rest.
        small = (
            event | {"body": '{"image_data": "AAAA", "labels": ["a", "b"]}'}
            if "body" in event
            else {"image_data": "AAAA", "labels": ["a"]}
        )
        (folder / f"seed-{i}").write_bytes(b"\0" + json.dumps(small).encode())
    (folder / "seed-body").write_bytes(
        b"\4" + json.dumps({"inputs": "AAAA", "parameters": {"candidate_labels": "a, b"}}).encode()
    )


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
