import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent


REPOSITORY = "timm/vit_base_patch32_clip_224.openai"


FILE = "open_clip_model.safetensors"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


CONTENT = np.random.default_rng(0).bytes(200_000)


class Hub(ThreadingHTTPServer):
    """One repository with one file of weights, a card and small `others` by name, which may be a
    `tokenizer`'s, of another repository; `trouble` is what goes wrong with the weights.
    """

    def __init__(
        self, weights: bytes, licence: str = "license: mit", repository: str = REPOSITORY
    ) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repository = repository
        self.weights = weights
        self.licence = licence
        self.tokenizer = repository
        self.others: dict[str, bytes] = {}
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
        of_tokenizer = self.path.startswith(f"/api/models/{hub.tokenizer}")
        api = f"/api/models/{hub.tokenizer if of_tokenizer else hub.repository}"
        if hub.trouble == "gated" and body:
            return self._refuse(401, "GatedRepo")
        if self.path.partition("?")[0] in (api, f"{api}/revision/{COMMIT}", f"{api}/revision/main"):
            card = dict(line.split(": ") for line in hub.licence.splitlines())
            files = [
                {"rfilename": "README.md", "size": 10},
                {
                    "rfilename": FILE,
                    "size": len(hub.weights),
                    "lfs": {"sha256": hub.sha256, "size": len(hub.weights), "pointerSize": 134},
                },
            ]
            if hub.trouble == "missing":
                files.pop()
            files += [
                {"rfilename": name, "size": len(content)} for name, content in hub.others.items()
            ]
            return self._send(
                json.dumps(
                    {"id": hub.repository, "sha": COMMIT, "cardData": card, "siblings": files}
                ).encode(),
                body,
                {},
            )
        if self.path.startswith("/api/"):
            return self._refuse(
                404, "RevisionNotFound" if hub.repository in self.path else "RepoNotFound"
            )
        if self.path.endswith("/README.md"):
            text = f"---\n{hub.licence}\n---\nA card.\n".encode()
            return self._send(text, body, {"ETag": '"card"', "X-Repo-Commit": COMMIT})
        other = hub.others.get(self.path.rpartition("/")[2])
        if other is not None:
            tag = f'"{hashlib.sha1(other).hexdigest()}"'
            return self._send(other, body, {"ETag": tag, "X-Repo-Commit": COMMIT})
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
