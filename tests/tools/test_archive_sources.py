import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from classifier.contract.bundle import MANIFEST
from tests.support.certificate import certificate
from tests.support.requests import DEMO
from tools.archive import ArchiveError, fetch, pack


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "g" * 64])
def test_without_a_sha256_nothing_is_fetched(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ArchiveError, match="64 digits"):
        fetch("missing.tar", digest, tmp_path)


@pytest.mark.parametrize(
    "source", ["http://127.0.0.1:1/demo.tar", "ftp://127.0.0.1/demo.tar", "file:///demo.tar"]
)
def test_other_schemes_are_refused_by_name(tmp_path: Path, source: str) -> None:
    with pytest.raises(ArchiveError, match="allowed: s3://…, https://… or a path"):
        fetch(source, "0" * 64, tmp_path)


@contextmanager
def https(folder: Path) -> Iterator[str]:
    """Serves a folder over TLS on this machine, with a certificate that lies in it; the address."""
    context = certificate(folder, "localhost")

    class Files(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_https_is_fetched_with_its_certificate_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = pack(DEMO, tmp_path / "demo.tar")
    with https(tmp_path) as address:
        with pytest.raises(ArchiveError, match=r"could not be fetched.*CERTIFICATE_VERIFY_FAILED"):
            fetch(f"{address}/demo.tar", digest, tmp_path / "models")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        with pytest.raises(ArchiveError, match="404"):
            fetch(f"{address}/missing.tar", digest, tmp_path / "models")
        assert (fetch(f"{address}/demo.tar", digest, tmp_path / "models") / MANIFEST).is_file()


def test_s3_is_fetched_by_the_aws_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = pack(DEMO, tmp_path / "demo.tar")
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(ArchiveError, match="install the AWS CLI"):
        fetch("s3://bucket/demo.tar", digest, tmp_path / "models")
    aws = tools / "aws"
    aws.write_text(
        f"#!{sys.executable}\nimport shutil, sys\nassert sys.argv[1:4] == ['s3', 'cp',"
        " '--only-show-errors']\nsys.exit(254) if 'denied' in sys.argv[4] else"
        f" shutil.copy({str(tmp_path / 'demo.tar')!r}, sys.argv[5])\n"
    )
    aws.chmod(0o755)
    with pytest.raises(ArchiveError, match=r"aws s3 cp could not copy s3://bucket/denied\.tar"):
        fetch("s3://bucket/denied.tar", digest, tmp_path / "models")
    assert (fetch("s3://bucket/demo.tar", digest, tmp_path / "models") / MANIFEST).is_file()
