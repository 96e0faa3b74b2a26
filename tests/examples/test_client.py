import json
import socket
import threading
from pathlib import Path

import pytest

import classify
import client
import moderation
from tests.support.programs import RecordingHandler, exit_status, response
from tests.support.requests import ROOT
from tools.local.serve import running

SAMPLES = ROOT / "examples" / "images"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_error_that_stays_is_reported_after_five_retries(
    status: int, backoff: type[client.Backoff], waits: list[float]
) -> None:
    recorder = RecordingHandler(response(status))
    with running(recorder) as url:
        message = exit_status(moderation.main, "--endpoint", url, backoff=backoff)
    assert message == f"The endpoint answered {status}: No. Try again later."
    assert len(recorder.events) == 6
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(waits))
    assert len(waits) == 5
    assert waits != [1, 2, 4, 8, 16]


def test_a_failed_connection_is_retried_twice(
    backoff: type[client.Backoff], waits: list[float]
) -> None:
    message = exit_status(moderation.main, "--endpoint", "http://127.0.0.1:9/", backoff=backoff)
    assert message.startswith("http://127.0.0.1:9/ can't be reached")
    assert message.endswith("Connection refused")
    assert len(waits) == 2


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8000", "localhost/v1/", "ftp://localhost/"])
def test_an_endpoint_without_http_in_front_is_refused(
    endpoint: str, backoff: type[client.Backoff], waits: list[float]
) -> None:
    message = exit_status(moderation.main, "--endpoint", endpoint, backoff=backoff)
    assert message.startswith(f"{endpoint} must begin with http://")
    assert not waits


def test_a_broken_connection_is_retried(backoff: type[client.Backoff], waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broken:

        def hang_up() -> None:
            for _ in range(6):
                broken.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        message = exit_status(
            moderation.main,
            "--endpoint",
            f"http://127.0.0.1:{broken.getsockname()[1]}/",
            backoff=backoff,
        )
        thread.join()
    assert "can't be reached" in message
    assert len(waits) == 5


def test_the_key_does_not_follow_a_redirect() -> None:
    elsewhere = RecordingHandler(response(200))
    with (
        running(elsewhere) as other,
        running(RecordingHandler(response(307, "moved", Location=other))) as url,
    ):
        assert (
            exit_status(moderation.main, "--endpoint", url, "--api-key", "k")
            == "The endpoint answered 307: moved"
        )
    assert elsewhere.events == []


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (403, json.dumps({"message": "Forbidden"}), "403: Forbidden Is the key right?"),
        (400, json.dumps({"message": "labels is missing."}), "400: labels is missing."),
        (404, "<html>", "404: <html>"),
        (418, "", "418: nothing more"),
        (200, "<html>", "not as this API does: <html>"),
        (200, "[]", "not as this API does: []"),
    ],
)
def test_an_error_message_of_the_endpoint_is_shown(status: int, body: str, message: str) -> None:
    with running(RecordingHandler(response(status, body))) as url:
        assert message in exit_status(moderation.main, "--endpoint", url)
        assert message in exit_status(
            classify.main, SAMPLES, "--endpoint", url, "--labels", "a dog"
        )


def test_requests_are_signed_if_the_deployment_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = RecordingHandler(response(200, "{}"))
    for name, value in {
        "CLIP_AUTHENTICATION": "iam",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    with running(handler) as url:
        client.open_session(None).post(url, json={"labels": ["a"]}, timeout=10)
    signature = handler.events[0]["headers"]["authorization"]
    assert signature.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert (
        "/eu-central-1/execute-api/aws4_request, SignedHeaders=content-type;host;x-amz-date,"
        " Signature=" in signature
    )


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        # What `aws login` writes. Without its extra crt botocore asks for an installation.
        ("login_session = arn:aws:iam::123456789012:user/me", "Please reauthenticate with"),
        ("", "without credentials"),
    ],
)
def test_who_is_not_signed_in_is_told_so_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, message: str
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{profile}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SystemExit, match=message) as raised:
        client.SignedRequests()
    assert "aws login" in str(raised.value)
