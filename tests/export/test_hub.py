"""The real download code against a loopback server that stands in for the hub."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dev.weights import plain
from export.architecture import Architecture
from export.source import read_table

ROOT = Path(__file__).parent.parent.parent
MODEL = "ViT-B-32-quickgelu"
TAG = "openai"
REPOSITORY = "timm/vit_base_patch32_clip_224.openai"
FILE = "open_clip_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = np.random.default_rng(0).bytes(200_000)


class Hub(ThreadingHTTPServer):
    """One repository with one file of weights and a card; `trouble` is what goes wrong with it."""

    def __init__(self, weights: bytes, licence: str = "license: mit") -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.weights = weights
        self.licence = licence
        self.trouble = ""
        self.requests: list[str] = []
        self.sha256 = hashlib.sha256(weights).hexdigest()


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.server
        hub.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        api = f"/api/models/{REPOSITORY}"
        if hub.trouble == "gated" and body:
            return self._refuse(401, "GatedRepo")
        if self.path.partition("?")[0] in (api, f"{api}/revision/{COMMIT}", f"{api}/revision/main"):
            card = dict(line.split(": ") for line in hub.licence.splitlines())
            files = [
                {"rfilename": "README.md", "size": 10},
                {"rfilename": FILE, "size": len(hub.weights)},
            ]
            if hub.trouble == "missing":
                files.pop()
            return self._send(
                json.dumps(
                    {"id": REPOSITORY, "sha": COMMIT, "cardData": card, "siblings": files}
                ).encode(),
                body,
                {},
            )
        if self.path.startswith("/api/"):
            return self._refuse(
                404, "RevisionNotFound" if REPOSITORY in self.path else "RepoNotFound"
            )
        if self.path.endswith("/README.md"):
            text = f"---\n{hub.licence}\n---\nA card.\n".encode()
            return self._send(text, body, {"ETag": '"card"', "X-Repo-Commit": COMMIT})
        if not self.path.endswith(f"/{FILE}"):
            return self._refuse(404, "EntryNotFound")
        content = (
            hub.weights[:-1] + bytes([hub.weights[-1] ^ 1])
            if hub.trouble == "changed"
            else hub.weights
        )
        tag = f'"{hub.sha256}"'
        headers = {
            "ETag": tag,
            "X-Linked-ETag": tag,
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        return self._send(content, body, headers)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        for name, value in {
            "X-Error-Code": code,
            "X-Repo-Commit": COMMIT,
            "Content-Length": "0",
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, content: bytes, body: bool, headers: dict[str, str]) -> None:
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        for name, value in {
            **headers,
            "Content-Length": str(len(content) - first),
            "Content-Type": "application/json",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        weights = self.path.endswith(f"/{FILE}")
        # `cut`: a connection ends after a quarter of the file; `dead`: each ends at its half.
        last = (
            {"cut": first + len(content) // 4, "dead": len(content) // 2}.get(
                self.server.trouble, len(content)
            )
            if weights
            else None
        )
        if body:
            self.wfile.write(content[first:last])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    yield from serving(Hub(CONTENT))


def serving(server: Hub) -> Iterator[Hub]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(
    arguments: list[str], folder: Path, endpoint: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
    }
    environment = os.environ | settings | variables
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


FETCH = """
import sys
from export.errors import ExportError
from export.hub import fetch
revision, accepted = (argument or None for argument in sys.argv[1:])
try:
    say = lambda text: print(text, file=sys.stderr)
    print(fetch({repository!r}, ["absent.safetensors", {file!r}], revision, None, accepted, say))
except ExportError as err:
    sys.exit(f"error: {{err}}")
"""


def fetch(
    hub: Hub, folder: Path, revision: str = "", accepted: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    code = FETCH.format(repository=REPOSITORY, file=FILE)
    return run(
        ["-c", code, revision, accepted],
        folder,
        f"http://127.0.0.1:{hub.server_address[1]}",
        **variables,
    )


def check_refused(done: subprocess.CompletedProcess[str], message: str, folder: Path) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [
        blob for blob in folder.glob("cache/hub/*/blobs/*") if blob.stat().st_size >= len(CONTENT)
    ] == []


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("missing", f"has none of absent.safetensors, {FILE}"),
        ("changed", "wrong sha256 and was deleted"),
        ("gated", "HF_TOKEN"),
        ("dead", "the next run starts this file over"),
    ],
)
def test_a_download_that_fails_is_told_and_leaves_nothing(
    hub: Hub, trouble: str, message: str, tmp_path: Path
) -> None:
    hub.trouble = trouble
    check_refused(fetch(hub, tmp_path), message, tmp_path)


def test_a_connection_that_breaks_again_and_again_is_resumed_where_it_broke(tmp_path: Path) -> None:
    # The client writes in steps of 10 MiB: a shorter piece is fetched again.
    step = 10 * 2**20
    for hub in serving(Hub(bytes(44 * 2**20))):
        hub.trouble = "cut"
        done = fetch(hub, tmp_path)
        assert done.returncode == 0, done.stderr
        assert hub.sha256 in done.stdout
        ranges = [request.partition("bytes=")[2] for request in hub.requests if "bytes=" in request]
        assert ranges == [f"{i * step}-" for i in (1, 2, 3, 4)]


def test_a_hub_that_cannot_be_reached_is_told_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run(
        ["-c", FETCH.format(repository=REPOSITORY, file=FILE), "", ""],
        tmp_path,
        "http://127.0.0.1:9",
    )
    assert time.monotonic() - started < 15
    check_refused(done, "The hub can't be reached and the weights are not in the cache", tmp_path)
    assert "HF_HUB_DISABLE_XET" in done.stderr


def test_without_a_network_the_cache_gives_weights_revision_and_licence(
    hub: Hub, tmp_path: Path
) -> None:
    assert fetch(hub, tmp_path).returncode == 0
    done = run(
        ["-c", FETCH.format(repository=REPOSITORY, file=FILE), "", ""],
        tmp_path,
        "http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr
    assert f"revision='{COMMIT}'" in done.stdout
    assert "licence='mit'" in done.stdout


def test_a_revision_is_pinned_and_an_unknown_one_is_refused(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path, revision=COMMIT).returncode == 0
    check_refused(
        fetch(hub, tmp_path / "other", revision="abc"), "has no revision abc", tmp_path / "other"
    )


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("license: other\nlicense_name: apple-amlr", "apple-amlr"),
        ("license: cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("license: other", "other"),
    ],
)
def test_a_licence_that_limits_use_is_accepted_by_name_before_the_download(
    card: str, licence: str, tmp_path: Path
) -> None:
    for hub in serving(Hub(CONTENT, card)):
        check_refused(fetch(hub, tmp_path), f"ACCEPT_LICENCE={licence}", tmp_path)
        check_refused(fetch(hub, tmp_path, accepted="mit"), f"ACCEPT_LICENCE={licence}", tmp_path)
        assert [request for request in hub.requests if FILE in request] == []
        done = fetch(hub, tmp_path, accepted=licence)
        assert f"licence='{licence}'" in done.stdout, done.stderr
        # The cached card asks again where there is no network.
        offline = run(
            ["-c", FETCH.format(repository=REPOSITORY, file=FILE), "", ""],
            tmp_path,
            "http://127.0.0.1:9",
        )
        assert f"ACCEPT_LICENCE={licence}" in offline.stderr


NO_TORCH = (
    "import runpy, sys; sys.modules.update(torch=None, open_clip=None); runpy.run_module('export',"
    " run_name='__main__')"
)


def test_the_usual_model_needs_no_torch_and_tells_what_comes_next(tmp_path: Path) -> None:
    file = tmp_path / FILE
    save_file(plain(Architecture.model_validate(read_table()["architectures"][MODEL])), file)
    for hub in serving(Hub(file.read_bytes())):
        arguments = [
            "--model",
            "ViT-B-32",
            "--pretrained",
            TAG,
            "--precision",
            "fp32",
            "--crops",
            "4",
        ]
        done = run(
            ["-c", NO_TORCH, *arguments, "--output", str(tmp_path / "bundle")],
            tmp_path,
            f"http://127.0.0.1:{hub.server_address[1]}",
        )
        assert done.returncode == 0, done.stderr
        manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
        assert manifest["weights"] == {
            "source": REPOSITORY,
            "revision": COMMIT,
            "sha256": hub.sha256,
        }
        assert (manifest["licence"], manifest["model"], manifest["pretrained"]) == (
            "mit",
            MODEL,
            TAG,
        )
        assert "numpy" in manifest["fidelity"]["checked_against"]
        # The name without QuickGELU is taken, with a note.
        assert f"trained with QuickGELU: taking {MODEL}" in done.stderr
        assert f"make demo BUNDLE={tmp_path / 'bundle'}" in done.stderr


def test_a_model_that_needs_torch_is_told_apart_with_the_size_of_torch(tmp_path: Path) -> None:
    arguments = [
        "--model",
        "RN50-quickgelu",
        "--pretrained",
        "openai",
        "--output",
        str(tmp_path / "bundle"),
    ]
    code = (
        "import importlib.util as u; find = u.find_spec; u.find_spec = lambda name, *rest: None if"
        " name == 'torch' else find(name, *rest); "
    )
    done = run(["-c", code + NO_TORCH, *arguments], tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 3, done.stderr
    assert "needs torch" in done.stderr
    assert "GB" in done.stderr
