import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from stacks.api.gateway_responses import QUOTA_RESPONSES
from tests.support.certificate import certificate
from tests.support.deployment import Programs, outputs
from tests.support.endpoint import ANSWER, endpoint
from tests.support.requests import DEMO, ROOT
from tools.deploy.answer import call_deployment, wait
from tools.deploy.calls import Answer, ask
from tools.deploy.doors import closed
from tools.deploy.machine import CheckError


def test_the_endpoint_is_called_with_growing_pauses_until_it_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses: list[float] = []
    with endpoint(403, 502, 503, 429, 500, 504) as (url, seen):
        assert wait(lambda: ask(url, "secret"), sleep=pauses.append)
    assert pauses == [1, 2, 4, 8, 15, 15]
    assert {request["x-api-key"] for request in seen} == {"secret"}
    assert {request["content-type"] for request in seen} == {"application/json"}
    output = capsys.readouterr().out
    assert "502  {" in output
    assert ANSWER in output
    assert "It answered after 0." in output
    assert "secret" not in output


def test_no_key_is_sent_if_there_is_none() -> None:
    with endpoint() as (url, seen):
        assert wait(lambda: ask(url, None))
    assert "x-api-key" not in seen[0]


def test_a_request_that_is_wrong_in_itself_is_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with endpoint(400) as (url, seen):
        assert not wait(lambda: ask(url, None))
    assert len(seen) == 1
    assert "No answer after" in capsys.readouterr().err


def test_patience_ends_if_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []
    nobody = "http://127.0.0.1:9/"
    assert not wait(lambda: ask(nobody, None), patience=3, sleep=pauses.append)
    assert pauses == [1, 2]
    assert "no answer" in capsys.readouterr().out


def test_the_answer_of_the_version_before_is_not_taken_for_the_new_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses: list[float] = []
    with endpoint(models=("ViT-B-32/old", "ViT-B-32/old", "ViT-L-14/new")) as (url, seen):
        assert wait(lambda: ask(url, None), model="ViT-L-14/new", sleep=pauses.append)
    assert len(seen) == 3
    assert pauses == [1, 2]
    assert "(still ViT-B-32/old, not ViT-L-14/new)" in capsys.readouterr().out


def test_a_certificate_that_is_not_trusted_ends_at_once_with_what_to_do(tmp_path: Path) -> None:
    with (
        endpoint(context=certificate(tmp_path, "localhost")) as (url, seen),
        pytest.raises(CheckError) as raised,
    ):
        wait(lambda: ask(url, None), sleep=lambda _: pytest.fail("it waited"))
    assert not seen
    assert "The deployment itself succeeded." in str(raised.value)
    assert "REQUESTS_CA_BUNDLE" in str(raised.value)


def test_certificates_come_with_the_tool_and_not_from_the_system(programs: Programs) -> None:
    """A Python from python.org has none of its own on macOS: there OpenSSL looks into a folder that
    doesn't exist.
    """
    context = certificate(programs.folder, "localhost")
    variables = {
        "SSL_CERT_FILE": "/nowhere",
        "REQUESTS_CA_BUNDLE": str(programs.folder / "certificate.pem"),
    }
    with endpoint(context=context) as (url, _):
        assert (
            programs.run("wait", outputs(programs.folder, url), str(DEMO), **variables).returncode
            == 0
        )


def test_the_outputs_of_a_deployment_lead_to_the_key_and_the_answer(programs: Programs) -> None:
    programs.aws(apigateway__get_api_key="secret")
    with endpoint(503) as (url, seen):
        done = programs.run(
            "wait",
            outputs(programs.folder, url, ApiKeyCommand="aws apigateway get-api-key --api-key abc"),
            str(DEMO),
        )
    assert done.returncode == 0, done.stderr
    assert [request["x-api-key"] for request in seen] == ["secret", "secret"]
    assert "The API key: aws apigateway get-api-key --api-key abc" in done.stdout
    assert "It answered after 1." in done.stdout
    assert programs.calls("aws lambda") == [
        "aws lambda wait function-updated-v2 --function-name clip-Function-1"
    ]


def test_a_change_of_code_alone_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with endpoint(models=("m",), versions=("0.1.0+a", "0.1.0+b")) as (url, seen):
        call = partial(ask, url, None)
        assert wait(call, model="m", build="b", sleep=lambda _: None)
    assert len(seen) == 2
    assert "(still a, not b)" in capsys.readouterr().out


GOOD = {"statusCode": 200, "headers": {"X-Model": "demo", "X-Version": "1+b"}, "body": ANSWER}
BROKEN = {"errorType": "Runtime.ExitError", "errorMessage": "exited"}
EXPLICIT = (
    "User: anonymous is not authorized to perform: execute-api:Invoke on resource:"
    " arn:aws:execute-api:eu-central-1:********9012:abc/prod/POST/ with an explicit deny"
)
NO_RIGHT = EXPLICIT.replace("with an explicit deny", "")
QUOTA = QUOTA_RESPONSES["QUOTA_EXCEEDED"].message or ""
NETWORK = {"AllowedIps": "203.0.113.0/24"}


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (NETWORK, 403, EXPLICIT),
        ({"Quota": "100"}, 429, QUOTA),
        ({"Quota": "100", "Alias": "warm"}, 429, QUOTA),
    ],
)
def test_behind_a_door_that_the_settings_close_the_function_itself_answers(
    programs: Programs, more: dict[str, str], status: int, message: str
) -> None:
    programs.function(GOOD)
    with endpoint(status, message=message) as (url, seen):
        done = programs.run("wait", outputs(programs.folder, url, Build="b", **more), str(DEMO))
    assert done.returncode == 0, done.stderr
    assert len(seen) == 1
    name = "clip-Function-1:warm" if "Alias" in more else "clip-Function-1"
    (call,) = programs.calls("aws lambda invoke")
    assert f" --function-name {name} " in call
    event = json.loads((programs.folder / "event.json").read_bytes())
    assert (event["httpMethod"], event["resource"]) == ("POST", "/")
    assert set(json.loads(event["body"])) == {"image_data", "labels"}


def test_a_private_api_is_not_called_from_here_but_its_function_is(programs: Programs) -> None:
    programs.function(GOOD)
    private = outputs(programs.folder, "https://a-vpce-1.example.org/", VpcEndpoint="vpce-1")
    done = programs.run("wait", private, str(DEMO))
    assert (done.returncode, "private to vpce-1" in done.stdout) == (0, True)
    assert len(programs.calls("aws lambda invoke")) == 1


@pytest.mark.parametrize(
    "answer", [BROKEN, GOOD | {"statusCode": 500}, GOOD | {"headers": {"X-Model": "old"}}]
)
def test_a_broken_function_behind_a_closed_door_is_no_success(
    inside: Programs, answer: dict[str, object]
) -> None:
    inside.function(answer)
    with endpoint(*[403] * 100, message=EXPLICIT) as (url, _):
        values = json.loads(Path(outputs(inside.folder, url, **NETWORK)).read_bytes())
        assert not call_deployment(values["clip-classifier"], DEMO, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ({}, 403, EXPLICIT),
        ({"Authentication": "none"}, 403, NO_RIGHT),
        (NETWORK, 403, NO_RIGHT),
        (NETWORK, 403, "The API key is missing or wrong; send it in the header x-api-key."),
        (NETWORK, 429, QUOTA),
        ({"Quota": "100"}, 429, "Too many requests; try again later."),
        ({"Quota": "100"}, 403, EXPLICIT),
    ],
)
def test_no_other_refusal_is_taken_for_the_one_that_the_settings_foresee(
    more: dict[str, str], status: int, message: str
) -> None:
    assert closed(Answer(status, json.dumps({"message": message})), more) is None


def test_who_lacks_the_right_to_call_is_told_so_long_before_five_minutes() -> None:
    pauses: list[float] = []
    with endpoint(*[403] * 100, message=NO_RIGHT) as (url, _):
        assert not wait(partial(ask, url, None), sleep=pauses.append)
    assert sum(pauses) <= 30


def test_the_signer_is_found_from_the_repositorys_root_alone() -> None:
    """As make runs it: the tests' own path holds the examples' folder already."""
    names = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-central-1"}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | names
    code = "from tools.deploy.answer import signed; signed()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


def test_a_deployment_with_iam_is_called_with_a_signature(programs: Programs) -> None:
    credentials = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalr",
        "AWS_SESSION_TOKEN": "token",
        "AWS_REGION": "eu-central-1",
    }
    with endpoint() as (url, seen):
        done = programs.run(
            "wait", outputs(programs.folder, url, Authentication="iam"), str(DEMO), **credentials
        )
    assert done.returncode == 0, done.stderr
    signature = seen[0]["authorization"]
    assert re.match(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/eu-central-1/execute-api/aws4_request, ",
        signature,
    )
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in signature
    assert seen[0]["x-amz-security-token"] == "token"
