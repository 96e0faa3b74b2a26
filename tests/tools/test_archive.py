import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from classifier.contract.bundle import FILES, MANIFEST, BundleError, read_manifest, sha256
from tests.support.requests import DEMO, ROOT
from tools.archive import ArchiveError, fetch, pack

Members = list[tuple[tarfile.TarInfo, bytes]]


def write(path: Path, members: Members, mode: str = "w") -> str:
    """Writes an archive of any members; its sha256."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return sha256(path)


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.type = kind
    info.linkname = link
    return info, content


@pytest.fixture
def members() -> Members:
    """What a good archive of the demo holds."""
    return [member(name, (DEMO / name).read_bytes()) for name in (MANIFEST, *sorted(FILES))]


def test_the_archive_depends_on_the_bundle_alone(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "other name"
    copy.mkdir(parents=True)
    for name in reversed((MANIFEST, *FILES)):
        shutil.copy(DEMO / name, copy)
        os.utime(copy / name, (1, 1))
        (copy / name).chmod(0o600)
    (copy / "notes.txt").write_text("not part of the bundle")
    first = tmp_path / "first.tar"
    second = tmp_path / "second.tar"
    digest = pack(DEMO, first)
    assert pack(copy, second) == digest == hashlib.sha256(first.read_bytes()).hexdigest()
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "first.tar.sha256").read_text() == f"{digest}  first.tar\n"
    with tarfile.open(first, "r:") as archive:
        assert archive.getnames() == [MANIFEST, *sorted(FILES)]
        assert {
            (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in archive
        } == {(0, 0, 0, "", "", 0o644)}


def test_a_damaged_bundle_is_not_packed(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(DEMO, copy)
    with (copy / "image.onnx").open("r+b") as file:
        file.write(b"other")
    with pytest.raises(BundleError, match=r"image\.onnx is not the file"):
        pack(copy, tmp_path / "copy.tar")


def test_what_was_packed_is_fetched_as_it_was_and_only_once(tmp_path: Path) -> None:
    archive = tmp_path / "demo.tar"
    models = tmp_path / "models"
    digest = pack(DEMO, archive)
    folder = fetch(str(archive), digest, models)
    manifest = read_manifest(folder, verify_hashes=True)
    assert folder == models / manifest.name.replace("/", "-")
    assert {path.name for path in folder.iterdir()} == {MANIFEST, *FILES}
    assert [path.name for path in models.iterdir()] == [folder.name]
    archive.unlink()
    assert fetch(str(archive), digest, models) == folder
    with pytest.raises(ArchiveError, match="was not found"):
        fetch(str(archive), digest, models, name="another")


def test_a_bundle_of_that_name_is_replaced_whole(tmp_path: Path) -> None:
    archive = tmp_path / "demo.tar"
    models = tmp_path / "models"
    digest = pack(DEMO, archive)
    old = models / "mine"
    old.mkdir(parents=True)
    (old / "left over").write_text("old")
    assert fetch(str(archive), digest, models, name="mine") == old
    assert {path.name for path in old.iterdir()} == {MANIFEST, *FILES}
    assert [path.name for path in models.iterdir()] == ["mine"]


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: [pair for pair in members if pair[0].name != name]


def replaced(name: str, pair: tuple[tarfile.TarInfo, bytes]) -> Callable[[Members], Members]:
    return lambda members: [
        pair if info.name == name else (info, content) for info, content in members
    ]


def manifest_with(**changes: object) -> Callable[[Members], Members]:
    return lambda members: [
        member(MANIFEST, json.dumps(json.loads(members[0][1]) | changes).encode()),
        *members[1:],
    ]


def files_with(name: str, **fields: object) -> Callable[[Members], Members]:
    """The manifest names one more file."""

    def change(members: Members) -> Members:
        files = json.loads(members[0][1])["files"] | {
            name: {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()} | fields
        }
        return [manifest_with(files=files)(members)[0], member(name, b"x"), *members[1:]]

    return change


BAD: dict[str, tuple[Callable[[Members], Members], str]] = {
    "nothing": (lambda _: [], "bundle.json is missing"),
    "no manifest": (without(MANIFEST), "where bundle.json belongs"),
    "a manifest that comes last": (
        lambda members: [*members[1:], members[0]],
        "where bundle.json belongs",
    ),
    "a manifest that is no JSON": (replaced(MANIFEST, member(MANIFEST, b"{")), "JSON"),
    "a manifest of another format": (manifest_with(format=1), "format"),
    "a huge manifest": (replaced(MANIFEST, member(MANIFEST, b" " * (2**20 + 1))), "more than"),
    **{f"no {name}": (without(name), f"{name}") for name in FILES},
    **{
        f"{name} a byte longer": (
            replaced(name, member(name, (DEMO / name).read_bytes() + b"x")),
            "more than",
        )
        for name in FILES
    },
    **{
        f"{name} a byte shorter": (
            replaced(name, member(name, (DEMO / name).read_bytes()[1:])),
            "bytes instead of",
        )
        for name in FILES
    },
    **{
        f"{name} with another content": (
            replaced(name, member(name, (DEMO / name).read_bytes()[:-1] + b"\xff")),
            "sha256 differs",
        )
        for name in FILES
    },
    "one file more": (lambda members: [*members, member("run.sh", b"exit")], "run.sh"),
    "a file twice": (lambda members: [*members, members[-1]], "which bundle.json does not name"),
    "a file outside": (lambda members: [*members, member("../outside", b"x")], "outside"),
    "a manifest that names a file outside": (files_with("../outside"), "names the file"),
    "a manifest that names an absolute file": (files_with("/tmp/outside"), "names the file"),
    "a manifest that names a hidden file": (files_with(".hidden"), "names the file"),
    "a manifest that names a negative size": (files_with("extra.bin", bytes=-1), "more than"),
    "a model whose name leaves the folder": (
        manifest_with(model="..", pretrained=None),
        "can't name a folder",
    ),
    **{
        f"{name} as {kind!r}": (
            replaced(name, member(name, kind=kind, link="/etc/passwd")),
            "not an ordinary file",
        )
        for name in (MANIFEST, "image.onnx")
        for kind in (
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.DIRTYPE,
            tarfile.FIFOTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            b"S",
            b"Z",
        )
    },
}


@pytest.mark.parametrize("case", BAD)
def test_an_archive_of_another_content_is_refused_and_changes_nothing(
    tmp_path: Path, members: Members, case: str
) -> None:
    change, message = BAD[case]
    models = tmp_path / "models"
    (models / "demo").mkdir(parents=True)
    (models / "demo" / "mine").write_text("kept")
    archive = tmp_path / "bad.tar"
    digest = write(archive, change(members))
    with pytest.raises(ArchiveError, match=message):
        fetch(str(archive), digest, models)
    assert [path.relative_to(models).as_posix() for path in models.rglob("*")] == [
        "demo",
        "demo/mine",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "models"]


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_compressed_archive_is_refused(
    tmp_path: Path, members: Members, compression: str
) -> None:
    digest = write(tmp_path / "demo.tar", members[:1], f"w:{compression}")
    with pytest.raises(ArchiveError, match="not an archive"):
        fetch(str(tmp_path / "demo.tar"), digest, tmp_path / "models")


@pytest.mark.parametrize("part", range(8))
def test_an_archive_that_is_cut_short_or_altered_is_refused_before_it_is_unpacked(
    tmp_path: Path, part: int
) -> None:
    archive = tmp_path / "demo.tar"
    models = tmp_path / "models"
    digest = pack(DEMO, archive)
    data = bytearray(archive.read_bytes())
    place = part * len(data) // 8
    for altered in (
        bytes(data[:place]),
        bytes(data[:place]) + bytes([data[place] ^ 1]) + bytes(data[place + 1 :]),
    ):
        archive.write_bytes(altered)
        with pytest.raises(ArchiveError, match="nothing was unpacked"):
            fetch(str(archive), digest, models)
        assert not [*models.iterdir()]
    # Even with its own sha256, half an archive is none.
    archive.write_bytes(data[:place])
    with pytest.raises(ArchiveError, match="not an archive"):
        fetch(str(archive), sha256(archive), models)
    assert not [*models.iterdir()]


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
def https(folder: Path, certificate: Path) -> Iterator[str]:
    """Serves a folder over TLS on this machine; the address."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            *files,
            *subject,
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))

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


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.archive", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_https_is_fetched_with_its_certificate_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "certificate.pem"
    digest = pack(DEMO, tmp_path / "demo.tar")
    with https(tmp_path, certificate) as address:
        with pytest.raises(ArchiveError, match=r"could not be fetched.*CERTIFICATE_VERIFY_FAILED"):
            fetch(f"{address}/demo.tar", digest, tmp_path / "models")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
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


def test_the_command_packs_and_refuses_in_one_line(tmp_path: Path) -> None:
    done = command("pack", "models/demo", "--output", str(tmp_path / "demo.tar"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == sha256(tmp_path / "demo.tar")
    for arguments, message in {
        ("pack", str(tmp_path)): "bundle.json is missing",
        ("fetch", str(tmp_path / "demo.tar"), "0" * 64): "nothing was unpacked",
    }.items():
        done = command(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
