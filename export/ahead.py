"""Fetches weights while `make model` installs packages: by the standard library alone, into the
cache of huggingface_hub, which takes them from there.

It goes on where it was interrupted. What it can't fetch is left to huggingface_hub, which says why.
"""

import argparse
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "table" / "models.json"
TIMEOUT_SECONDS = 20
STEP = 1 << 20
# Licences that allow any use. Others, such as Apple's for research, have to be accepted by name.
PERMISSIVE = {
    "mit",
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "openrail",
    "unlicense",
}
# Is given the number of bytes that are there.
Tell = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pretrained", required=True)
    parser.add_argument("--parent", type=int, required=True, help="it ends with this process")
    given = parser.parse_args()
    # A shell makes what it starts in the background deaf to it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    tags = json.loads(TABLE.read_text())["pretrained"].get(given.model, {})
    settings = tags.get(given.pretrained.lower().replace("-", "_"))
    if not settings:
        return

    def tell(_: int) -> None:
        # Fails once make has ended.
        os.kill(given.parent, 0)

    # Whatever is wrong, huggingface_hub finds and says it.
    with contextlib.suppress(Exception):
        file = find(settings["repository"], settings["files"])
        if not file.path.exists():
            size = f"{file.size / 1e6:.0f} MB"
            print(f"  and meanwhile the weights of {file.repository}, {size}", file=sys.stderr)
            file.fetch(tell)


class RemoteFile:
    """A file of the hub, and where the cache has its bytes."""

    def __init__(self, repository: str, name: str, revision: str, sha256: str, size: int) -> None:
        self.repository = repository
        self.size = size
        self.path = blobs(repository) / sha256
        self.part = self.path.with_name(f"{sha256}.ahead")
        self._url = f"{_endpoint()}/{repository}/resolve/{revision}/{name}"

    def fetch(self, tell: Tell) -> None:
        """Waits for another process that fetches it already. Raises OSError or HTTPException."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        with self.part.open("ab") as file:
            while not _locked(file.fileno()):
                tell(self.part.stat().st_size)
                time.sleep(0.5)
            if self.path.exists():
                self.part.unlink(missing_ok=True)
                return
            there = self.part.stat().st_size
            if there != self.size:
                self._append(file, there, tell)
            if self.part.stat().st_size == self.size:
                self.part.rename(self.path)

    def _append(self, file: Any, there: int, tell: Tell) -> None:
        with _open(self._url, {"Range": f"bytes={there}-"}) as answer:
            if answer.status != 206:
                file.truncate(0)
                there = 0
            while chunk := answer.read(STEP):
                file.write(chunk)
                file.flush()
                there += len(chunk)
                tell(there)


def find(repository: str, names: Sequence[str]) -> RemoteFile:
    """The first of these files that the repository has. Raises ValueError for another licence than
    those that allow any use, and whatever an unusual answer of the hub leads to.
    """
    with _open(f"{_endpoint()}/api/models/{repository}?blobs=true", {}) as answer:
        info = json.load(answer)
    if info["cardData"]["license"].lower() not in PERMISSIVE:
        raise ValueError
    files = {file["rfilename"]: file for file in info["siblings"]}
    name = next((name for name in names if name in files), "")
    large = files[name]["lfs"]
    return RemoteFile(repository, name, info["sha"], large["sha256"], large["size"])


def blobs(repository: str) -> Path:
    """https://huggingface.co/docs/huggingface_hub/guides/manage-cache"""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{home}/huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    return cache / f"models--{repository.replace('/', '--')}" / "blobs"


def _open(url: str, headers: dict[str, str]) -> Any:
    # The address is the hub's, or the one that HF_ENDPOINT names.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main()
