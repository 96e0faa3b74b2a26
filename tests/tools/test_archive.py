import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from classifier.contract.bundle import FILES, MANIFEST, BundleError, read_manifest, sha256
from tests.support.requests import DEMO, ROOT
from tools.archive import ArchiveError, fetch, pack


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
    # What another fetch or export is still making may be gone in a moment.
    folder.rename(models / ".fetch-unfinished")
    with pytest.raises(ArchiveError, match="was not found"):
        fetch(str(archive), digest, models)


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


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.archive", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_packs_and_refuses_in_one_line(tmp_path: Path) -> None:
    done = command("pack", "models/demo", "--output", str(tmp_path / "demo.tar"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Model: demo, of models/demo.")
    assert done.stdout.split()[0] == sha256(tmp_path / "demo.tar")
    for arguments, message in {
        ("pack", str(tmp_path)): f"{tmp_path} holds no bundle. ",
        ("fetch", str(tmp_path / "demo.tar"), "0" * 64): "nothing was unpacked",
    }.items():
        done = command(*arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
