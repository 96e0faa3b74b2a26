"""Forms with files, as curl -F and browsers send them."""

import json
import random
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from classifier.api.form import MAX_PARTS
from classifier.api.handler import Handler
from tests.support.images import encoded, soft_image
from tests.support.requests import ROOT, ask, base64_of, event
from tools.local.serve import running

DOG = (ROOT / "examples" / "images" / "dog.jpg").read_bytes()
LABELS = [("labels", "a dog"), ("labels", "a cat")]
BOUNDARY = "a-boundary"
File = tuple[str, str, bytes]


def form(*files: File, texts: Any = LABELS, boundary: Any = BOUNDARY, **more: Any) -> Any:
    """An event with a form: files as name, file's name and content; texts as pairs."""
    parts = [
        f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + content
        for name, filename, content in files
    ]
    parts += [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'.encode()
        for name, text in texts
    ]
    body = b"".join(b"--%b\r\n%b\r\n" % (BOUNDARY.encode(), part) for part in parts)
    return raw(body + f"--{BOUNDARY}--\r\n".encode(), boundary, **more)


def raw(body: bytes, boundary: str = BOUNDARY, **more: Any) -> Any:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return event(base64_of(body), headers=headers) | {"isBase64Encoded": True} | more


@pytest.mark.parametrize("name", ["image", "image_data", "file"])
def test_a_form_with_one_file_gets_the_answer_of_the_same_request_in_json(
    handler: Handler, name: str
) -> None:
    body = {"image_data": base64_of(DOG), "labels": ["a dog", "a cat"], "top_k": 1}
    texts = [*LABELS, ("top_k", "1"), ("templates", ""), ("min_probability", "")]
    answer = ask(handler, form((name, "a.jpg", DOG), ("image", "", b""), texts=texts))
    assert answer[:2] == ask(handler, event(body))[:2]
    assert answer[0] == 200


def test_repeated_images_get_an_entry_each(handler: Handler) -> None:
    small = encoded(soft_image(9, 7), "PNG")
    files = [("images", "a.jpg", DOG), ("images", "b.png", small), ("images", "c.txt", b"text")]
    status, answer, _ = ask(handler, form(*files))
    body = {"images": [base64_of(file) for _, _, file in files], "labels": ["a dog", "a cat"]}
    assert (status, answer) == ask(handler, event(body))[:2]
    assert [list(entry) for entry in answer["results"]] == [["result"], ["result"], ["error"]]


def test_the_url_may_hold_what_the_form_does_not(handler: Handler) -> None:
    query = {"multiValueQueryStringParameters": {"labels": ["a dog", "a cat"], "top_k": ["1"]}}
    assert list(ask(handler, form(("image", "a.jpg", DOG), texts=[], **query))[1]["result"]) == [
        "a dog"
    ]


@pytest.mark.parametrize(
    ("sent", "field", "message"),
    [
        (form(), "image", "The form has no image; send the file as its field image"),
        (form(("image", "a", DOG), texts=[]), "labels", '-F labels="a cat"'),
        (form(("image", "a", DOG), ("image", "b", DOG)), "image", "-F images=@a.jpg"),
        (form(("image", "a", DOG), ("images", "b", DOG)), "images", "-F images=@a.jpg"),
        (form(*[("images", "a", b"")] * 65), "images", "at most 64"),
        (form(("photo", "a", DOG)), "photo", 'The form\'s field "photo" is unknown'),
        (form(("image", "a", b"text")), "image", "none of JPEG"),
        (form(texts=[*LABELS, ("image", "photo.jpg")]), "image", "-F image=@photo.jpg"),
        (form(("labels", "labels.txt", b"a dog"), ("image", "a", DOG)), "labels", "is a file"),
        (form(("image", "a", DOG), texts=[("labels", "a dog,a cat")]), "labels", "commas"),
        (form(("image", "a", DOG), texts=[*LABELS, ("top_k", "x")]), "top_k", "whole number"),
        (form(("image", "a", DOG), texts=[*LABELS, ("fit", "pad")] * 2), "fit", "sent 2 times"),
        (form(("images", "a", DOG), texts=[*LABELS, ("regions", "5")]), "regions", "at most 4"),
        (form(*[("images", "a", DOG)] * 41, texts=[*LABELS, ("regions", "2")]), "regions", "40"),
        (form(("image", "a", DOG), boundary=""), None, "lacks the form's boundary"),
        (form(("image", "a", DOG), boundary="other"), None, "can't be read"),
        (raw(b"--a-boundary\r\n\r\n"), None, "can't be read"),
        (form(texts=[("labels", str(i)) for i in range(MAX_PARTS + 1)]), None, "more than 1,264"),
    ],
)
def test_a_wrong_form_is_refused_with_its_field(
    handler: Handler, sent: Any, field: str | None, message: str
) -> None:
    status, body, _ = ask(handler, sent)
    assert (status, body.get("field")) == (415 if "JPEG" in message else 400, field)
    assert message in body["message"]
    assert ask(handler, form(("image", "a.jpg", DOG)))[0] == 200


def test_texts_that_are_not_utf_8_are_refused(handler: Handler) -> None:
    sent = form(("image", "a", DOG), texts=[("labels", "caf\u00e9"), ("labels", "a")])
    body = b64decode(sent["body"]).replace("\u00e9".encode(), b"\xe9")
    status, answer, _ = ask(handler, raw(body))
    assert (status, answer["field"]) == (400, "labels")
    assert "UTF-8" in answer["message"]


def test_a_form_cut_or_changed_anywhere_is_answered_quickly(handler: Handler) -> None:
    rng = random.Random(0)
    good = b64decode(form(("image", "a.png", encoded(soft_image(9, 7), "PNG")))["body"])
    for _ in range(300):
        body = bytearray(good[: rng.randrange(len(good))] if rng.random() < 0.5 else good)
        for _ in range(rng.randrange(3)):
            body[rng.randrange(len(body))] = rng.randrange(256) if body else 0
        start = time.process_time()
        assert ask(handler, raw(bytes(body)))[0] in (200, 400, 413, 415)
        assert time.process_time() - start < 1


def test_openais_routes_take_no_form(handler: Handler) -> None:
    sent = form(("image", "a.jpg", DOG), resource="/v1/embeddings")
    status, body, _ = ask(handler, sent)
    assert status == 415
    assert "JSON alone" in body["error"]["message"]


def test_curl_sends_forms_to_the_local_server(handler: Handler, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(DOG)
    with running(handler) as url:
        command = [
            "curl",
            "-sS",
            "-F",
            f"image=@{photo}",
            "-F",
            "labels=a dog",
            "-F",
            "labels=food",
        ]
        done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    assert list(json.loads(done.stdout)["result"]) == ["a dog", "food"]


def test_the_parser_is_imported_with_the_first_form() -> None:
    program = (
        "import sys; from classifier.api import handler; assert 'multipart' not in sys.modules;"
        " from classifier.api.form import read_form;"
        " read_form('multipart/form-data; boundary=a', b'--a\\r\\nContent-Disposition: form-data;"
        ' name="image"; filename="b"\\r\\n\\r\\nc\\r\\n--a--\\r\\n\');'
        " assert 'multipart' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
