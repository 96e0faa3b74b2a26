"""Coverage-guided fuzzing of image files' containers, bodies, queries and events of every kind,
with atheris (libFuzzer). Run by: make fuzz

python -m tests.robustness.fuzz build/fuzz-corpus -max_total_time=3600
"""

import json
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["classifier"]):
    from classifier.api.body import read_body
    from classifier.api.dialects import dialect_of_body
    from classifier.api.events import Request, kind_of
    from classifier.contract.errors import ApiError
    from classifier.contract.request.media_types import BINARY_TYPES, MULTIPART_TYPE
    from classifier.contract.request.schema import ClassifyRequest
    from classifier.contract.request.url_parameters import QUERY_PARAMETERS
    from classifier.images.formats import inspect, name_format
    from classifier.images.formats.image_file import MAX_SIDE

from tests.robustness.bodies import ENCODED, mutated, question
from tests.robustness.files import CHEAP, KINDS
from tests.robustness.forms import BOUNDARIES, form
from tests.support.events import HTTP_EVENTS, IMAGE

# Forms tell their boundary, which is that of the seeds.
TYPES = [
    f"{kind}; boundary={BOUNDARIES[0]}" if kind == MULTIPART_TYPE else kind
    for kind in ("", "application/json", "text/plain", *BINARY_TYPES)
]
FORM = next(i for i, kind in enumerate(TYPES) if kind.startswith(MULTIPART_TYPE))
RESPONSE = {"statusCode": 200, "headers": {"a": "b"}, "body": "{}", "isBase64Encoded": False}
EVENT, BODY, TEXT, FILE = range(4)
MAX_BYTES = 8_192  # make fuzz passes the same number as -max_len
SEEDS = 30  # of each kind
# Besides names of fields: texts by which containers and encodings are recognised.
WORDS = (
    "base64,",
    "--X\\x0d\\x0a",
    "Content-Disposition: form-data; name=",
    "filename=",
    "data:",
    "true",
    "null",
    "[]",
    "{}",
    "\\xff\\xd8\\xff",
    "\\xff\\xda",
    "\\xff\\xc2",
    "\\xff\\xe1",
    "Exif\\x00\\x00",
    "MPF\\x00",
    "IHDR",
    "PLTE",
    "tRNS",
    "IDAT",
    "IEND",
    "eXIf",
    "acTL",
    "fcTL",
    "fdAT",
    "iTXt",
    "VP8 ",
    "VP8L",
    "VP8X",
    "ANMF",
    "ALPH",
    "EXIF",
    "XMP ",
    "GIF89a",
    "\\x21\\xf9\\x04",
    "ftyp",
    "avif",
    "avis",
    "mif1",
    "meta",
    "iloc",
    "ipma",
    "iprp",
    "ipco",
    "ispe",
    "irot",
    "imir",
    "auxC",
    "pitm",
    "iinf",
    "infe",
    "iref",
    "grid",
    "BM",
    "II*\\x00",
    "MM\\x00*",
)


def fuzz(data: bytes) -> None:
    """The first byte says what the rest is. Nothing but a ApiError, with a message that isn't a
    library's, may come out.
    """
    first = data[0] if data else 0
    rest = data[1:]
    kind = first % 4
    variant = first // 4
    try:
        if kind == FILE:
            name_format(rest)
            container = inspect(rest)
            # The inspect leaves out, and at most closes what it cut.
            assert len(container.data) <= len(rest) + 64
            assert 0 < container.width <= MAX_SIDE and 0 < container.height <= MAX_SIDE
            return
        if kind == EVENT:
            try:
                event = json.loads(rest)
            except (ValueError, RecursionError):
                return
            request = kind_of(event).read()
            kind_of(event).write(RESPONSE)
        else:
            body = rest if kind == BODY else rest.decode("utf-8", "replace")
            query = (
                {QUERY_PARAMETERS[variant % len(QUERY_PARAMETERS)]: ["a", "b"]}
                if variant > 31
                else {}
            )
            request = Request(
                "POST", "/", {"content-type": TYPES[variant % len(TYPES)]}, query, body
            )
        sent = read_body(request)
        dialect_of_body(sent).read(sent, request.query)
    except ApiError as err:
        assert 400 <= err.status < 500
        assert len(json.dumps(err.body())) < 5_000


def write_seeds(folder: Path) -> None:
    """Files, bodies and events, small so that the fuzzer's bytes reach the rest, and a dictionary
    next to the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(0)
    seeds = [bytes([FILE]) + KINDS[kind](random) for kind in CHEAP for _ in range(SEEDS)]
    for _ in range(SEEDS):
        for make in (question, mutated):
            body = json.dumps(make(random)).replace(json.dumps(ENCODED), '"AAAA"')
            seeds += [bytes([BODY + 4]) + body.encode(), bytes([TEXT + 4]) + body.encode()]
            event = random.choice([event for event in HTTP_EVENTS.values() if "body" in event])
            seeds.append(bytes([BODY + 4 * FORM]) + form(random)[1].replace(IMAGE, b"GIF89a"))
            seeds.append(bytes([EVENT]) + json.dumps(event | {"body": body}).encode())
    for i, seed in enumerate(seeds):
        if len(seed) <= MAX_BYTES:
            (folder / f"seed-{i}").write_bytes(seed)
    words = (
        *WORDS,
        *ClassifyRequest.model_fields,
        *QUERY_PARAMETERS,
        "parameters",
        "candidate_labels",
        "httpMethod",
        "requestContext",
        "isBase64Encoded",
        "rawQueryString",
        "multiValueHeaders",
        "version",
        "elb",
        "http",
    )
    folder.with_suffix(".dict").write_text("".join(f'"{word}"\n' for word in words))


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
