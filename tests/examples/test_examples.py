import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError
from PIL import Image, ImageOps

import classify
import client
import huggingface
import moderation
from classifier.handler import Handler
from tests.integration import test_runtime
from tests.support.pictures import encoded, picture, png_header
from tests.support.requests import DEMO, ROOT, base64_of
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"
LABELS = ["a dog", "a pizza", "stars, of any colour"]
ASKED = ["--labels", "a dog,a pizza", "--label", LABELS[2]]
JSON = {"Content-Type": "application/json"}
emulator = test_runtime.emulator


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    env = {"PYTHONPATH": "lambdas", **variables}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def ending(main: Callable[..., None], *words: object, **injected: Any) -> Any:
    """What a program exits with: 0, a number or its last words."""
    try:
        main([str(word) for word in words], **injected)
    except SystemExit as err:
        return err.code
    return 0


class Front:
    """A handler that notes its events and answers with the refusals first, then as the handler behind it, else with the last refusal."""

    def __init__(self, *refusals: dict[str, Any], behind: Handler | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.refusals, self.behind = list(refusals), behind

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.events.append(event)
        if self.refusals and (self.behind is None or len(self.events) <= len(self.refusals)):
            return self.refusals[min(len(self.events), len(self.refusals)) - 1]
        assert self.behind
        answer: dict[str, Any] = self.behind(event, context)
        return answer

    def bodies(self) -> list[Any]:
        return [json.loads(event["body"]) for event in self.events]


def refusal(status: int, body: str = '{"message": "No."}', **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"statusCode": status, "headers": JSON | named, "body": body}


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patience(waits: list[float]) -> type[client.Patience]:
    """Notes how long it would have waited."""

    class Noting(client.Patience):
        nap = staticmethod(waits.append)

    return Noting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them deeper, a broken one, and what is no picture."""
    (tmp_path / "more").mkdir()
    for name, sample in (("dog.jpg", "dog.jpg"), ("more/pizza.JPG", "pizza.jpg"), ("stars.png", "stars-small.png")):
        (tmp_path / name).write_bytes((SAMPLES / sample).read_bytes())
    (tmp_path / "broken.png").write_bytes(png_header(64, 64))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.jpg").write_bytes(b"no picture")
    return tmp_path


def test_pictures_of_a_folder_are_answered_as_one_by_one_and_a_broken_one_alone_fails(
    handler: Handler, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(handler) as url:
        code = ending(classify.main, folder, "--endpoint", url, *ASKED, "--output", "json")
        expected = [
            requests.post(url, json={"image_data": base64_of((SAMPLES / name).read_bytes()), "labels": LABELS}, timeout=30).json()
            for name in ("dog.jpg", "pizza.jpg", "stars-small.png")
        ]
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [Path(row["file"]).relative_to(folder).as_posix() for row in rows] == [
        "broken.png", "dog.jpg", "more/pizza.JPG", "stars.png",
    ]  # fmt: skip
    assert [row["result"] for row in rows[1:]] == [answer["result"] for answer in expected]
    assert rows[0]["error"] == "The PNG image is damaged or truncated; send the whole file."
    assert code == "1 of 4 files failed."
    warning, passed_over = err.splitlines()
    assert warning == client.ONLY_DRAWINGS
    assert passed_over.startswith("Passed over 2 files, which are not sent: 1 ")
    assert "1 .txt" in passed_over and "1 hidden" in passed_over and ".webp" in passed_over


def test_the_table_ranks_and_the_csv_keeps_the_labels_order(
    handler: Handler, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, missing = folder / "more" / "pizza.JPG", folder / "none.jpg"
    words = [good, missing, *ASKED]
    with running(handler) as url:
        assert ending(classify.main, *words, "--endpoint", url) == "1 of 2 files failed."
        table = capsys.readouterr().out.splitlines()
        ending(classify.main, *words, "--endpoint", url, "--output", "csv", "--top-k", "1")
    header, best, failed = csv.reader(io.StringIO(capsys.readouterr().out))
    assert table[0].startswith(f"{good}  a pizza ")
    shares = [float(word.rstrip("%")) for word in table[0].split() if word.endswith("%")]
    assert (len(shares), shares) == (3, sorted(shares, reverse=True))
    width = len(str(good))
    assert table[1] == f"{missing!s:<{width}}  error: can't be read: No such file or directory"
    assert header == ["file", *LABELS, "error"]
    assert best == [str(good), "", best[2], "", ""]
    assert shares[0] == round(100 * float(best[2]), 2)
    assert failed == [str(missing), "", "", "", "can't be read: No such file or directory"]


def test_options_go_out_by_the_names_of_the_contract_and_only_where_given(handler: Handler, folder: Path) -> None:
    given = [
        "--templates",
        "a drawing of {}",
        "--templates",
        "a photo of {}, big",
        "--multi-label",
        "--negative-template",
        "nothing",
    ]
    more = ["--fit", "tiles", "--top-k", "2", "--min-probability", "0.01"]
    front = Front(behind=handler)
    with running(front) as url:
        for options in ([], [*given, *more]):
            assert ending(classify.main, folder / "dog.jpg", "--endpoint", url, *ASKED, *options, "--api-key", "k") == 0
    plain, full = ({name: value for name, value in body.items() if name != "images"} for body in front.bodies())
    assert plain == {"labels": LABELS}
    assert full == {
        "labels": LABELS,
        "templates": ["a drawing of {}", "a photo of {}, big"],
        "multi_label": True,
        "negative_template": "nothing",
        "fit": "tiles",
        "top_k": 2,
        "min_probability": 0.01,
    }
    assert front.events[0]["headers"]["x-api-key"] == "k"


def test_calls_are_bounded_by_their_bytes_and_answers_stay_in_order(
    handler: Handler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(tmp_path / f"{i}.bmp")
    (tmp_path / "3.dog.jpg").write_bytes((SAMPLES / "dog.jpg").read_bytes())
    front = Front(behind=handler)
    with running(front) as url:
        assert ending(classify.main, tmp_path, "--endpoint", url, *ASKED, "--output", "json") == 0
        whole = json.loads(capsys.readouterr().out)
        assert ending(classify.main, tmp_path, "--endpoint", url, *ASKED, "--output", "json", "--batch", "1") == 0
    assert [len(body["images"]) for body in front.bodies()] == [3, 3] + [1] * 6
    assert max(len(event["body"]) for event in front.events) < client.MAX_BASE64 + 1000
    assert json.loads(capsys.readouterr().out) == whole


@pytest.mark.parametrize(
    ("pictures", "sizes"),
    [
        ([classify.Picture("", "x")] * 130, [64, 64, 2]),
        ([classify.Picture("", "x" * 2_000_000)] * 3, [2, 1]),
        ([classify.Picture("", "x" * 4_000_000)] * 2, [1, 1]),
        ([classify.Picture("", "x", pixels=40_000_000)] * 5, [2, 2, 1]),
        ([], []),
    ],
    ids=["count", "bytes", "one as large as a call", "pixels", "none"],
)
def test_a_call_holds_what_the_endpoint_takes(pictures: list[classify.Picture], sizes: list[int]) -> None:
    calls = list(classify.batches(pictures))
    assert [len(batch) for batch in calls] == sizes
    assert [one for batch in calls for one in batch] == pictures


def test_a_large_photo_is_shrunk_and_judged_as_the_whole_one(
    handler: Handler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(SAMPLES / "dog.jpg") as dog:
        large = encoded(dog.resize((dog.width * 8, dog.height * 8), Image.Resampling.BICUBIC), "JPEG", quality=95)
    (tmp_path / "dog.jpg").write_bytes(large)
    front = Front(behind=handler)
    with running(front) as url:
        assert ending(classify.main, tmp_path, "--endpoint", url, *ASKED, "--output", "json") == 0
        whole = requests.post(url, json={"image_data": base64_of(large), "labels": LABELS}, timeout=30).json()["result"]
    result = json.loads(capsys.readouterr().out)[0]["result"]
    assert len(front.bodies()[0]["images"][0]) < len(large) / 4
    assert result == pytest.approx(whole, abs=0.02)
    assert result != whole


def upright(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGBA")


def turned(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


PHOTO = picture(1500, 1000)
CLEAR = PHOTO.copy()
CLEAR.putalpha(picture(1500, 1000, bands=1, seed=1))
LARGE = {f"JPEG turned {turn}": (encoded(PHOTO, "JPEG", quality=95, exif=turned(turn)), "JPEG") for turn in range(1, 9)} | {
    "PNG turned": (encoded(PHOTO, exif=turned(6)), "JPEG"),
    "WebP turned": (encoded(PHOTO, "WEBP", quality=95, exif=turned(8)), "JPEG"),
    "grey": (encoded(PHOTO.convert("L")), "JPEG"),
    "palette": (encoded(PHOTO.quantize(256)), "JPEG"),
    "CMYK": (encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), "JPEG"),
    "transparent": (encoded(CLEAR), "PNG"),
    "turned and transparent": (encoded(CLEAR, "WEBP", quality=95, exif=turned(5)), "PNG"),
}


@pytest.mark.parametrize(("data", "kind"), LARGE.values(), ids=LARGE)
def test_a_large_picture_keeps_its_looks_and_the_pixels_that_are_needed(data: bytes, kind: str) -> None:
    small, pixels = client.shrunk(data)
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, min(image.size), max(image.size), pixels) == (kind, 512, 768, 512 * 768)
        assert image.getexif().get(0x0112, 1) == 1
    whole = upright(data)
    assert (whole.width > whole.height) == (image.width > image.height)
    # Both as the encoder would see them; over white, since what is clear has no colour.
    seen = [Image.alpha_composite(Image.new("RGBA", one.size, "white"), one).resize((64, 64)) for one in (upright(small), whole)]
    difference = np.abs(np.asarray(seen[0], int) - np.asarray(seen[1], int))
    assert difference.mean() < 2


@pytest.mark.parametrize(
    "data",
    [
        (SAMPLES / "dog.jpg").read_bytes(),
        encoded(picture(2000, 512)),
        encoded(Image.fromarray(np.random.default_rng(0).integers(0, 65536, (700, 700), dtype=np.uint16))),
        encoded(Image.new("RGB", (1200, 1200), "red")),
        png_header(5000, 5000),
        b"no picture at all",
        b"",
    ],
    ids=["a small file", "a short side", "16 bits", "few bytes", "cut off", "text", "nothing"],
)
def test_what_is_small_or_is_not_understood_goes_as_it_is(data: bytes) -> None:
    assert client.shrunk(data)[0] == data


def test_a_tiny_file_of_many_pixels_is_shrunk_all_the_same() -> None:
    data = encoded(Image.new("L", (5000, 4000), 128), "WEBP")
    assert len(data) < client.SMALL_FILE
    assert client.shrunk(data)[1] == 640 * 512


def test_a_file_that_no_call_can_hold_is_named_and_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(bytes(3_100_000))
    row = classify.read(path)
    assert (row.encoded, row.error) == ("", "has 3.1 MB, couldn't be shrunk here, and at most 3.0 MB are sent; shrink it.")


def test_a_file_name_that_is_not_utf_8_can_be_printed() -> None:
    assert classify.read(Path(os.fsdecode(b"none\xff.png"))).name.encode() == b"none\\xff.png"


def test_what_passes_is_waited_for_as_long_as_asked_or_ever_longer(
    handler: Handler, patience: type[client.Patience], waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    front = Front(refusal(429, Retry_After="7"), refusal(503), refusal(500), refusal(429, Retry_After="86400"), behind=handler)
    with running(front) as url:
        code = ending(classify.main, SAMPLES / "dog.jpg", "--endpoint", url, *ASKED, patience=patience)
    assert code == 0
    assert len(front.events) == 5
    assert len({event["body"] for event in front.events}) == 1
    assert (waits[0], waits[3]) == (7, 60)
    assert 1 <= waits[1] <= 2 <= waits[2] <= 4
    assert "a dog" in capsys.readouterr().out


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_does_not_pass_is_told_after_five_more_tries(
    status: int, patience: type[client.Patience], waits: list[float]
) -> None:
    front = Front(refusal(status))
    with running(front) as url:
        said = ending(moderation.main, "--endpoint", url, patience=patience)
    assert said == f"The endpoint answered {status}: No. Try again later."
    assert len(front.events) == 6
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(waits))
    assert len(waits) == 5
    assert waits != [1, 2, 4, 8, 16]


def test_a_refusal_is_not_repeated_and_ends_the_run(
    handler: Handler, patience: type[client.Patience], waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    front = Front(behind=handler)
    words = [SAMPLES, "--batch", "1", "--labels", "a dog,A Dog", "--output", "json"]
    with running(front) as url:
        said = ending(classify.main, *words, "--endpoint", url, patience=patience)
    assert said == 'The endpoint answered 400: labels.0 "a dog" and labels.1 "A Dog" are the same to the model; remove one.'
    assert (len(front.events), waits, capsys.readouterr().out) == (1, [], "[]\n")


def test_where_nobody_answers_two_more_tries_do(patience: type[client.Patience], waits: list[float]) -> None:
    said = ending(moderation.main, "--endpoint", "http://127.0.0.1:9/", patience=patience)
    assert said.startswith("http://127.0.0.1:9/ can't be reached")
    assert said.endswith("Connection refused")
    assert len(waits) == 2


def test_a_connection_that_breaks_is_tried_again(patience: type[client.Patience], waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broken:

        def hang_up() -> None:
            for _ in range(6):
                broken.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        said = ending(moderation.main, "--endpoint", f"http://127.0.0.1:{broken.getsockname()[1]}/", patience=patience)
        thread.join()
    assert "can't be reached" in said
    assert len(waits) == 5


def test_the_key_does_not_follow_a_redirect() -> None:
    elsewhere = Front(refusal(200))
    with running(elsewhere) as other, running(Front(refusal(307, "moved", Location=other))) as url:
        assert ending(moderation.main, "--endpoint", url, "--api-key", "k") == "The endpoint answered 307: moved"
    assert elsewhere.events == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([str(SAMPLES)], "say what to look for"),
        ([str(ROOT / "tests"), "--labels", "a"], "there is no picture in"),
        ([str(SAMPLES), "--labels", "a", "--fit", "stretch"], "crop"),
    ],
)
def test_a_command_line_that_can_not_work_is_refused_before_any_call(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(classify.main, *words, "--endpoint", "http://127.0.0.1:9/") == 2
    assert said in capsys.readouterr().err


def test_without_an_endpoint_the_argument_and_the_variable_are_named() -> None:
    done = run("examples/classify.py", "examples/images", "--labels", "a,b")
    assert (done.returncode, "--endpoint" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_endpoint_and_key_come_from_the_environment_and_no_bar_goes_into_a_file(handler: Handler) -> None:
    front = Front(behind=handler)
    with running(front) as url:
        done = run("examples/classify.py", "examples/images", *ASKED, CLIP_ENDPOINT=url, CLIP_API_KEY="secret")
    assert (done.returncode, done.stderr) == (0, client.ONLY_DRAWINGS + "\n")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        f"examples/images/{path.name}" for path in sorted(SAMPLES.iterdir())
    ]
    assert front.events[0]["headers"]["x-api-key"] == "secret"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_sees_how_far_it_is_and_the_bar_goes_away(handler: Handler) -> None:
    ours, theirs = os.openpty()
    files = [str(path) for path in sorted(SAMPLES.iterdir())[:4]]
    command = [sys.executable, "examples/classify.py", *files, *ASKED, "--batch", "2", "--endpoint"]
    with running(handler) as url:
        done = subprocess.run([*command, url], cwd=ROOT, stderr=theirs, stdout=subprocess.DEVNULL, check=False)
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert f"[{'#' * 15}{' ' * 15}] 2/4" in seen
    assert f"[{'#' * 30}] 4/4" in seen
    assert seen.endswith("\r\x1b[K")


@pytest.fixture
def stuck(handler: Handler) -> Iterator[tuple[str, threading.Event]]:
    """An endpoint that answers one call and never the second; and whether that one has come."""
    arrived, released = threading.Event(), threading.Event()

    def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if arrived.is_set() or json.loads(event["body"])["images"] != [base64_of((SAMPLES / "dog.jpg").read_bytes())]:
            arrived.set()
            released.wait(60)
        response: dict[str, Any] = handler(event, context)
        return response

    with running(answer) as url:
        yield url, arrived
        released.set()


@pytest.mark.skipif(sys.platform == "win32", reason="a process there is not interrupted by a signal")
def test_an_interrupted_run_keeps_what_it_has_and_says_how_far_it_came(stuck: tuple[str, threading.Event]) -> None:
    url, arrived = stuck
    command = [
        sys.executable,
        "examples/classify.py",
        "examples/images",
        *ASKED,
        "--batch",
        "1",
        "--output",
        "json",
        "--endpoint",
        url,
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert arrived.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [row["file"] for row in json.loads(out)] == ["examples/images/dog.jpg"]
    assert err == f"{client.ONLY_DRAWINGS}\nInterrupted after 1 of {len(list(SAMPLES.iterdir()))} files.\n"


@pytest.mark.parametrize("form", classify.FORMS)
def test_a_reader_that_has_enough_ends_the_run_quietly(handler: Handler, form: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "examples/classify.py", "examples/images", *ASKED, "--output", form, "--endpoint"]
    with running(handler) as url:
        done = subprocess.run([*command, url], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr in ("", client.ONLY_DRAWINGS + "\n")


def test_moderation_asks_once_by_category_and_prints_the_best_first(handler: Handler) -> None:
    front = Front(behind=handler)
    with running(front) as url:
        done = run("examples/moderation.py", "--endpoint", url, "--image", "examples/images/pizza.jpg")
    assert done.returncode == 0, done.stderr
    warning, title, *rows = done.stdout.splitlines()
    assert "nothing about photographs" in warning
    assert title == "Category probabilities:"
    shares = [float(row.split()[1].rstrip("%")) for row in rows]
    assert {row.split()[0] for row in rows} == {"neutral", "suggestive", "sport", "explicit", "gaming", "music", "violence"}
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) < 0.1
    (body,) = front.bodies()
    assert (len(body["categories"]), body["combine"]) == (7, "max")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, json.dumps({"message": "Forbidden"}), "403: Forbidden Is the key right?"),
        (400, json.dumps({"message": "labels is missing."}), "400: labels is missing."),
        (404, "<html>", "404: <html>"),
        (418, "", "418: nothing more"),
        (200, "<html>", "not as this API does: <html>"),
        (200, "[]", "not as this API does: []"),
    ],
)
def test_what_the_endpoint_said_is_told(status: int, body: str, said: str) -> None:
    with running(Front(refusal(status, body))) as url:
        assert said in ending(moderation.main, "--endpoint", url)
        assert said in ending(classify.main, SAMPLES, "--endpoint", url, *ASKED)


@pytest.mark.parametrize("main", [moderation.main, huggingface.main])
def test_a_file_that_is_missing_is_named(main: Callable[..., None], tmp_path: Path) -> None:
    said = ending(main, "--endpoint", "http://127.0.0.1:9/", "--image", tmp_path / "none.jpg")
    assert said == f"{tmp_path / 'none.jpg'} can't be read: No such file or directory"


def inference(url: str) -> InferenceClient:
    return InferenceClient(model=url, headers={"x-api-key": "k"}, token="unused")


def test_hugging_faces_client_gets_our_answer_best_first_with_its_own_template(handler: Handler) -> None:
    data, labels = (SAMPLES / "pizza.jpg").read_bytes(), ["dog", "pizza", "cat"]
    ours = {"image_data": base64_of(data), "labels": labels, "top_k": 3}
    with running(handler) as url:
        for given, template in ((None, "This is a photo of {}."), ("a drawing of {}", "a drawing of {}")):
            found = inference(url).zero_shot_image_classification(data, labels, hypothesis_template=given)
            answer = requests.post(url, json=ours | {"templates": [template]}, timeout=30).json()
            assert [(element.label, element.score) for element in found] == list(answer["result"].items())
            assert sorted(found, key=lambda element: -element.score) == found


def test_hugging_faces_client_shows_the_message_of_an_error(handler: Handler) -> None:
    with running(handler) as url, pytest.raises(BadRequestError) as raised:
        inference(url).zero_shot_image_classification((SAMPLES / "pizza.jpg").read_bytes(), ["dog", "Dog"])
    said = 'parameters.candidate_labels.0 "dog" and parameters.candidate_labels.1 "Dog" are the same to the model; remove one.'
    assert said in str(raised.value)


def test_the_hugging_face_example_sends_the_key_and_not_the_saved_token(handler: Handler, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_saved")
    front, words = Front(behind=handler), ["--labels", "a dog, a cat", "--template", "a drawing of {}"]
    with running(front) as url:
        endings = [
            run("examples/huggingface.py", "--endpoint", url, *words, HF_HOME=str(tmp_path), CLIP_API_KEY="secret", **more)
            for more in ({}, {"HF_TOKEN": "hf_saved"})
        ]
    for done, event, body in zip(endings, front.events, front.bodies(), strict=True):
        assert done.returncode == 0, done.stderr
        assert [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()] == ["a dog", "a cat"]
        assert event["headers"]["x-api-key"] == "secret"
        assert "hf_saved" not in json.dumps(event)
        assert body["parameters"] == {"candidate_labels": ["a dog", "a cat"], "hypothesis_template": "a drawing of {}"}


def test_the_hugging_face_example_tells_what_is_wrong(handler: Handler) -> None:
    with running(handler) as url:
        no_picture = ending(huggingface.main, "--endpoint", url, "--image", ROOT / "README.md")
        one_label = ending(huggingface.main, "--endpoint", url, "--labels", "dog")
    with running(Front(refusal(403, '{"message": "Forbidden"}'))) as url:
        no_key = ending(huggingface.main, "--endpoint", url)
    assert no_picture.startswith("The endpoint answered 415: The image is none of JPEG")
    assert one_label == "You must specify at least 2 classes to compare."
    assert no_key.startswith("The endpoint answered 403: Forbidden Is the key right?")
    assert "can't be reached" in ending(huggingface.main, "--endpoint", "http://127.0.0.1:9/")


@test_runtime.pytestmark
def test_hugging_faces_client_is_served_in_the_real_runtime(emulator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        test_runtime.environment(emulator, "classifier.main.handler", CLIP_BUNDLE=str(DEMO)) as invoke,
        running(lambda event, context: invoke(event)) as url,
    ):
        good = ending(huggingface.main, "--endpoint", url)
        bad = ending(huggingface.main, "--endpoint", url, "--labels", "dog,Dog")
    assert good == 0
    assert capsys.readouterr().out.splitlines()[0].split()[1] == "dog"
    assert "are the same to the model" in bad


def test_the_demo_names_the_right_label_for_each_sample() -> None:
    done = run("-m", "tools.local.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it says nothing about photographs" in done.stdout
    assert "make model MODEL=ViT-B-32-quickgelu PRETRAINED=openai" in done.stdout


def test_the_demo_takes_ones_own_picture_with_a_warning_first() -> None:
    done = run("-m", "tools.local.demo", "--image", "examples/images/dog.jpg", "--labels", "a dog, a teapot")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("nothing about photographs") < done.stdout.index("a teapot")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image", "none.jpg", "--labels", "a"], "none.jpg can't be read"),
        (["--image", "README.md", "--labels", "a"], "The image is none of JPEG"),
        (["--image", "examples/images/dog.jpg"], "takes both"),
    ],
)
def test_the_demo_tells_what_is_wrong(words: list[str], said: str) -> None:
    done = run("-m", "tools.local.demo", *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
