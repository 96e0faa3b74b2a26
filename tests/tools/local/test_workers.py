import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.requests import DEMO, ROOT
from tools.local.serve import listener

IMAGE = (ROOT / "examples" / "images" / "dog.jpg").read_bytes()


def test_workers_answer_callers_with_the_key_and_log_no_label(tmp_path: Path) -> None:
    with listener(0) as sock:
        port = sock.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "tools.local.workers:app",
        "--port",
        str(port),
        "--workers",
        "2",
        "--no-access-log",
    ]
    environment = os.environ | {
        "CLIP_BUNDLE": str(DEMO),
        "API_KEY": "secret",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    }
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, stdout=log) as server,
    ):
        try:
            assert _status(port, "secret") == 200
            assert _status(port, "wrong") == 403
        finally:
            server.terminate()
    text = (tmp_path / "log").read_text()
    assert "status=200" in text
    assert "purple" not in text


def test_the_container_mounts_every_folder_that_the_workers_import() -> None:
    program = (
        "import sys, tools.local.workers; print(*(getattr(module, '__file__', '') or '' for module"
        " in list(sys.modules.values())))"
    )
    environment = os.environ | {"CLIP_BUNDLE": str(DEMO)}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    files = [
        Path(name).relative_to(ROOT) for name in run.stdout.split() if name.startswith(f"{ROOT}/")
    ]
    mounted = set(
        re.findall(r"- \./(\w+):/server/\1:ro", (ROOT / "compose.yaml").read_text(encoding="utf-8"))
    )
    assert {file.parts[0] for file in files} - {".venv"} == mounted | {"lambdas"}


def _status(port: int, key: str, seconds: float = 60) -> int:
    """The status of a request, tried again while nobody listens."""
    url = f"http://127.0.0.1:{port}/?labels=purple+dog&labels=cat"
    headers = {"Content-Type": "image/jpeg", "x-api-key": key}
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, IMAGE, headers), timeout=30
            ) as response:
                return int(response.status)
        except urllib.error.HTTPError as err:
            return err.code
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
