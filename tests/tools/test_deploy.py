import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.requests import ROOT
from tools import deploy
from tools.deploy import wait

TOOL = ROOT / "tools" / "deploy.py"
ANSWER = '{"result": {"a dog": 0.9, "a cat": 0.1}}'


@contextmanager
def endpoint(*statuses: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A loopback server that gives these statuses one after the other, then 200; its URL and the requests' headers."""
    seen: list[dict[str, str]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert set(body) == {"image_data", "labels"}
            status = statuses[len(seen)] if len(seen) < len(statuses) else 200
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(ANSWER.encode() if status == 200 else b'{"message": "not yet"}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", seen
        finally:
            server.shutdown()
            thread.join()


def test_the_endpoint_is_asked_with_growing_pauses_until_it_answers(capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []
    with endpoint(403, 502, 503, 429, 500, 504) as (url, seen):
        assert wait(url, "secret", sleep=pauses.append)
    assert pauses == [1, 2, 4, 8, 15, 15]
    assert {request["x-api-key"] for request in seen} == {"secret"}
    assert {request["content-type"] for request in seen} == {"application/json"}
    said = capsys.readouterr().out
    assert "502  {" in said
    assert ANSWER in said
    assert "It answered after 0." in said
    assert "secret" not in said


def test_no_key_is_sent_where_there_is_none() -> None:
    with endpoint() as (url, seen):
        assert wait(url, None)
    assert "x-api-key" not in seen[0]


def test_a_request_that_is_wrong_in_itself_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with endpoint(400) as (url, seen):
        assert not wait(url, None)
    assert len(seen) == 1
    assert "No answer after" in capsys.readouterr().err


def test_patience_ends_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []
    assert not wait("http://127.0.0.1:9/", None, patience=3, sleep=pauses.append)
    assert pauses == [1, 2]
    assert "no answer" in capsys.readouterr().out


def run(arguments: list[str], path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The tool where only the programs of one folder are to be found."""
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments],
        env={"PATH": str(path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name in ("sh", "grep"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return tmp_path


def test_every_missing_tool_is_named_at_once_with_what_to_install(programs: Path) -> None:
    done = run(["check", *deploy.NEEDS], programs)
    assert done.returncode == 1
    for name, (_, remedy) in deploy.NEEDS.items():
        assert f"\n{name}: " in done.stderr
        assert remedy in done.stderr
    assert "docker is not installed" in done.stderr


def test_nothing_is_said_where_everything_is_there(programs: Path) -> None:
    program(programs, "node", "echo v24.0.0")
    program(programs, "docker", "exit 0")
    program(programs, "aws", "echo arn:aws:iam::1:role/logs")
    done = run(["check", *deploy.NEEDS], programs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_a_tool_says_of_its_trouble_is_passed_on(programs: Path) -> None:
    program(programs, "docker", 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    done = run(["check", "docker"], programs)
    assert "docker: Cannot connect to the Docker daemon\n  install Docker and start it" in done.stderr


def test_an_account_without_a_role_for_logs_is_told_to_bootstrap(programs: Path) -> None:
    program(programs, "aws", "echo None")
    assert "make bootstrap" in run(["check", "logging-role"], programs).stderr


def test_a_region_from_the_environment_is_enough(programs: Path) -> None:
    assert run(["check", "region"], programs, AWS_REGION="eu-central-1").returncode == 0
    assert "export AWS_REGION" in run(["check", "region"], programs).stderr


def test_another_program_than_docker_can_be_named_as_the_cdk_lets_it(programs: Path) -> None:
    program(programs, "podman", "exit 0")
    assert run(["check", "docker"], programs, CDK_DOCKER="podman").returncode == 0


def test_the_outputs_of_a_deployment_lead_to_the_key_and_the_answer(programs: Path) -> None:
    program(programs, "aws", 'test "$1 $2 $4" = "apigateway get-api-key abc" && echo secret')
    with endpoint(503) as (url, seen):
        outputs = {
            "Url": url,
            "ApiKeyCommand": "aws apigateway get-api-key --api-key abc",
            "Dashboard": "https://console.example.org",
        }
        (programs / "outputs.json").write_text(json.dumps({"clip-classifier": outputs}), encoding="utf-8")
        done = run(["wait", str(programs / "outputs.json")], programs)
    assert done.returncode == 0, done.stderr
    assert [request["x-api-key"] for request in seen] == ["secret", "secret"]
    assert "The API key: aws apigateway get-api-key --api-key abc" in done.stdout
    assert "It answered after 1." in done.stdout


def outside(**environment: str) -> dict[str, str]:
    """The environment without what an outer make left in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))} | environment


def make(*words: str) -> str:
    """What make would do."""
    command = ["make", "--dry-run", *words]
    return subprocess.run(command, cwd=ROOT, env=outside(), capture_output=True, text=True, check=True).stdout


def test_a_deployment_takes_the_settings_and_the_bundle_that_were_named() -> None:
    said = make("deploy-cdk", "SETTINGS=memory=4096 playground=true", "BUNDLE=models/mine")
    assert "cdk deploy -c memory=4096 -c playground=true -c bundle=models/mine " in said
    assert "-c bundle=models/ViT-L-14-laion " in make("deploy-cdk", "MODEL=ViT-L-14", "PRETRAINED=laion")
    assert "-c bundle=models/ViT-B-32-quickgelu-openai " in make("deploy-cdk")
    assert "synth_only" not in make("deploy-cdk")


@pytest.mark.parametrize(
    ("bundle", "made"), [("models/ViT-L-14-laion", "made: model\n"), ("models/mine", ""), ("models/demo", "")]
)
def test_the_whole_way_from_the_missing_bundle_to_the_first_answer(programs: Path, bundle: str, made: str) -> None:
    for name in ("node", "docker"):
        program(programs, name, "exit 0")
    program(programs, "aws", "echo arn:secret")
    with endpoint(502) as (url, seen):
        outputs = json.dumps({"clip-classifier": {"Url": url, "ApiKeyCommand": "aws get", "Dashboard": "https://example.org"}})
        program(programs, "cdk", f"echo cdk \"$@\"; mkdir -p build; echo '{outputs}' > build/outputs.json")
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        words = [f"BUNDLE={bundle}", "MODEL=ViT-L-14", "PRETRAINED=laion", f"CDK={programs}/cdk", "MAKE=echo made:"]
        command = ["make", "--silent", "--old-file", ".venv/ready", "deploy-cdk", *words]
        done = subprocess.run(command, cwd=ROOT, env=outside(PATH=path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split(
        f"cdk deploy -c bundle={bundle} --require-approval never --outputs-file build/outputs.json\n"
    )
    assert before == f"{made}made: --no-print-directory {programs}/cdk\n"
    assert "502" in after
    assert "It answered after 1." in after
    assert [request["x-api-key"] for request in seen] == ["arn:secret", "arn:secret"]


def test_a_template_to_look_at_is_made_of_the_demo_only_where_no_bundle_was_named() -> None:
    assert "cdk synth --quiet -c memory=2048 -c bundle=models/demo -c synth_only=true\n" in make(
        "synth", "SETTINGS=memory=2048", "DEPLOYED=models/none"
    )
    assert "-c bundle=models/none -c synth_only=true\n" in make("synth", "BUNDLE=models/none")


def test_removal_and_bootstrap_need_no_bundle() -> None:
    for target in ("destroy", "bootstrap"):
        said = make(target, "SETTINGS=name=mine bundle=models/gone")
        assert f"cdk {target} -c name=mine -c bundle=models/demo -c synth_only=true" in said
