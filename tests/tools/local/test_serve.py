import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.support.images import encoded, soft_image
from tests.support.local import Recorder, post
from tests.support.requests import DEMO, ROOT
from tools.bundles import choose
from tools.local.demo import classify
from tools.local.serve import running


def test_the_demo_shows_lambdas_message_for_an_image_over_six_megabytes(tmp_path: Path) -> None:
    image = tmp_path / "large.jpg"
    image.write_bytes(bytes(5 * 2**20))
    with (
        running(Recorder()) as url,
        pytest.raises(SystemExit, match=r"large\.jpg: Request Too Long"),
    ):
        classify(url, image, ["a"])


def test_the_only_real_bundle_is_chosen_and_several_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(None, tmp_path) == tmp_path / "demo"
    for name in ("demo", "one"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").touch()
    assert choose(None, tmp_path) == tmp_path / "one"
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "bundle.json").touch()
    with pytest.raises(SystemExit) as caught:
        choose(None, tmp_path)
    assert caught.value.code == 2
    assert f"BUNDLE={tmp_path / 'two'}" in capsys.readouterr().err
    assert choose(tmp_path / "two", tmp_path) == tmp_path / "two"


def start_serving(*options: str) -> tuple[subprocess.Popen[str], str, list[str]]:
    """A server of its own, its URL and the lines that it printed."""
    command = [
        sys.executable,
        "-m",
        "tools.local.serve",
        "--bundle",
        str(DEMO),
        "--port",
        "0",
        *options,
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "lambdas"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(4)]
    url = lines[0].split()[0]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(
                ("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])), 1
            ).close()
            break
        except OSError:
            time.sleep(0.05)
    return process, url, lines


@pytest.mark.parametrize("options", [[], ["--api-key", "my secret's"]], ids=["open", "keyed"])
def test_what_serve_says_to_try_works(options: list[str]) -> None:
    process, _, lines = start_serving(*options)
    with process:
        command = "".join(lines[2:])
        assert "base64" not in command
        answer = subprocess.run(
            ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
        )
        assert list(json.loads(answer.stdout)["result"]) == ["a dog", "a cat"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_the_first_call_that_the_guide_of_a_deployment_shows_works() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (command,) = (
        line for line in guide.splitlines() if line.startswith("curl ") and "$KEY" in line
    )
    process, url, _ = start_serving("--api-key", "secret")
    with process:
        variables = os.environ | {"URL": url, "KEY": "secret"}
        answer = subprocess.run(
            ["sh", "-c", command],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert list(json.loads(answer.stdout)["result"]) == ["a dog", "a cat", "something else"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_ctrl_c_ends_the_server_in_three_seconds_whatever_is_running() -> None:
    process, url, _ = start_serving()
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    # 2,000 prompts take the demo model seconds.
    labels = [f"{i} " + "dog " * 60 for i in range(1000)]
    body = json.dumps(
        {"image_data": base64.b64encode(encoded(soft_image(8, 8))).decode(), "labels": labels}
    ).encode()
    with (
        process,
        socket.create_connection((host, int(port))) as busy,
        socket.create_connection((host, int(port))) as stalled,
    ):
        busy.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length:"
            b" %d\r\n\r\n" % len(body) + body
        )
        stalled.sendall(b"POST / HTT")
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - began < 3


def test_serve_prints_its_url_and_ends_on_ctrl_c() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    command = [sys.executable, "-m", "tools.local.serve", "--bundle", str(DEMO), "--port"]
    environment = {"PYTHONPATH": "lambdas"}
    with subprocess.Popen(
        [*command, port],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            assert "nothing about photographs" in process.stderr.readline()
            printed = [process.stdout.readline() for _ in range(4)]
            assert printed[0].startswith(f"http://127.0.0.1:{port}/ is a page")
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                try:
                    assert post(f"http://127.0.0.1:{port}/", b"{}")[0] == 400
                    break
                except requests.ConnectionError:
                    time.sleep(0.05)
            taken = subprocess.run(
                [*command, port],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert taken.returncode == 1
            assert f"Port {port} is in use. Take another: make serve PORT=" in taken.stderr
        finally:
            process.send_signal(2)
        assert process.wait(timeout=10) == 0
