"""The real download code against a loopback server that stands in for the hub."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent.parent
REPOSITORY, FILE, COMMIT = "timm/resnet50_clip.openai", "open_clip_model.safetensors", "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """One repository with one file; `trouble` is what goes wrong with it."""

    def __init__(self, weights: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.weights, self.trouble = weights, ""
        self.sha256 = hashlib.sha256(weights).hexdigest()


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.server
        if self.path.startswith("/api/models/"):
            return self._send(json.dumps({"id": REPOSITORY, "sha": COMMIT, "cardData": {"license": "mit"}}).encode(), body, {})
        if not self.path.endswith(f"/{FILE}") or hub.trouble == "missing":
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        content = hub.weights[:-1] + bytes([hub.weights[-1] ^ 1]) if hub.trouble == "changed" else hub.weights
        tag = f'"{hub.sha256}"'
        headers = {
            "ETag": tag,
            "X-Linked-ETag": tag,
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        return self._send(content, body, headers, cut=hub.trouble == "cut")

    def _send(self, content: bytes, body: bool, headers: dict[str, str], cut: bool = False) -> None:
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        for name, value in {**headers, "Content-Length": str(len(content) - first), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[first : len(content) // 2] if cut else content[first:])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hub") / FILE
    save_file(open_clip.create_model("RN50-quickgelu").state_dict(), path)
    server = Hub(path.read_bytes())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def export(hub: Hub, folder: Path) -> subprocess.CompletedProcess[str]:
    variables = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "PYTHONPATH": str(ROOT / "lambdas"),
    }
    command = [sys.executable, "-m", "export", "--model", "RN50-quickgelu", "--pretrained", "openai", "--precision", "fp32",
               "--crops", "4", "--output", str(folder / "bundle")]  # fmt: skip
    return subprocess.run(command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)


def check_refused(done: subprocess.CompletedProcess[str], said: str, folder: Path) -> None:
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "bundle").exists()
    assert [blob for blob in folder.glob("cache/hub/*/blobs/*") if blob.suffix != ".incomplete"] == []


@pytest.mark.parametrize(("trouble", "said"), [("missing", "could not be downloaded"), ("changed", "wrong sha256")])
def test_a_missing_or_changed_file_is_told_and_leaves_nothing(hub: Hub, trouble: str, said: str, tmp_path: Path) -> None:
    hub.trouble = trouble
    check_refused(export(hub, tmp_path), said, tmp_path)


def test_a_cut_download_is_told_and_the_next_try_makes_the_bundle(hub: Hub, tmp_path: Path) -> None:
    hub.trouble = "cut"
    check_refused(export(hub, tmp_path), "could not be downloaded", tmp_path)
    hub.trouble = ""
    done = export(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert settings["weights"] == {"source": REPOSITORY, "revision": COMMIT, "sha256": hub.sha256}
    assert settings["licence"] == "mit"
    assert settings["pretrained"] == "openai"
