"""Forms that a stranger may send, drawn from a seed: good ones, mutated in their fields, their
headers, their boundaries and their bytes.
"""

from random import Random

from classifier.api.form import ONE_FILE, SEVERAL_FILES
from classifier.contract.request.media_types import MULTIPART_TYPE
from classifier.contract.request.url_parameters import QUERY_PARAMETERS
from tests.support.events import IMAGE, LABELS

NAMES = (*ONE_FILE, SEVERAL_FILES, *QUERY_PARAMETERS)
BOUNDARIES = ("X", "----WebKitFormBoundaryA1", "-" * 70, "a b", "'()+_,./:=?", "=" * 10_000, "é")
ENDS = ("\r\n", "\n", "\r", "\r\n\r\n", "")
# Behind a field's name.
OPTIONS = (
    "",
    '; filename="a.jpg"',
    "; filename=a b.jpg",
    '; filename=""',
    "; filename*=UTF-8''%e2%82%ac.jpg",
    '; filename="..\\\\..\\\\a\\"b.jpg"',
    f'; filename="{"a" * 5_000}"',
    '; name="labels"',
    "; filename",
)
HEADERS = (
    "",
    "Content-Type: image/jpeg",
    "Content-Type: text/plain; charset=latin-1",
    "Content-Type: multipart/mixed; boundary=Y",
    "Content-Transfer-Encoding: base64",
    "Content-Length: 7",
    "X: " + "a" * 9_000,
    "no colon",
    "\0: \0",
)
TEXTS = ("", "a dog", "true", "1e400", "[]", "{", "@a.jpg", "\xa0", "a" * 200_000, "%00", "\ufffd")


def form(random: Random, longest: int = 5_900_000) -> tuple[str, bytes]:
    """The header Content-Type and the body. Half of them are whole."""
    is_whole = random.random() < 0.5
    boundary = BOUNDARIES[0] if is_whole else random.choice(BOUNDARIES)
    end = ENDS[0] if is_whole else random.choice((ENDS[0], *ENDS))
    fields = [("image", OPTIONS[1], "", IMAGE)]
    fields += [("labels", "", "", label.encode()) for label in LABELS]
    for _ in range(random.choice((0, 0, 1, 3, 30))):
        content = random.choice((IMAGE, random.choice(TEXTS).encode(), random.randbytes(99)))
        field = (random.choice((*NAMES, "labels[]", "", "\xe9", "a" * 3_000)), content)
        options = (random.choice(OPTIONS), random.choice(HEADERS))
        fields.insert(random.randint(0, len(fields)), (field[0], *options, field[1]))
    if not is_whole and random.random() < 0.1:
        fields *= int(10 ** random.uniform(0, 4))
    body = b"".join(
        f'--{boundary}{end}Content-Disposition: form-data; name="{name}"{option}{end}'.encode()
        + (f"{header}{end}".encode() if header else b"")
        + end.encode()
        + content
        + end.encode()
        for name, option, header, content in fields
    )[:longest]
    if is_whole or random.random() < 0.5:
        body += f"--{boundary}--{end}".encode()
    elif body and random.random() < 0.5:
        damaged = bytearray(body)
        for _ in range(random.randint(1, 20)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        body = bytes(damaged)
    told = boundary if is_whole or random.random() < 0.7 else random.choice(("", "Y", "\0"))
    quote = '"' if random.random() < 0.5 else ""
    return f"{MULTIPART_TYPE}; boundary={quote}{told}{quote}", body
