import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from classifier.contract.bundle import FILES, MANIFEST, sha256
from tests.support.requests import DEMO
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
