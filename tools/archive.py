"""A bundle as one file: python -m tools.archive pack models/…, or fetch s3://…|https://…|path
SHA256.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import IO, cast

import requests
from pydantic import ValidationError

from classifier.contract.bundle import MANIFEST, BundleError, BundleManifest, read_manifest, sha256
from tools.bundles import announced, choose, complete

ROOT = Path(__file__).parent.parent
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: a function's image has at
# most 10 GB.
MAX_ARCHIVE_BYTES = 10 * 2**30
MAX_MANIFEST_BYTES = 2**20
CHUNK_BYTES = 2**20
TIMEOUT_S = 30


class ArchiveError(Exception):
    """An archive that can't be made or used; the message says why and what to do."""


def write_archive(folder: Path, output: IO[bytes]) -> None:
    """Writes bundle.json and the files that it names as an uncompressed tar; its bytes depend on
    their content alone.

    Raises BundleError if a file is not the one that bundle.json describes.
    """
    manifest = read_manifest(folder, verify_hashes=True)
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for name in [MANIFEST, *sorted(manifest.files)]:
            member = tarfile.TarInfo(name)
            member.size = (folder / name).stat().st_size
            member.mode = 0o644
            with (folder / name).open("rb") as file:
                archive.addfile(member, file)


def pack(folder: Path, output: Path) -> str:
    """Writes the archive, and next to it its sha256 in a file that `sha256sum --check` reads.
    Returns the sha256.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as file:
        write_archive(folder, file)
    digest = sha256(output)
    output.with_name(f"{output.name}.sha256").write_text(f"{digest}  {output.name}\n")
    return digest


def fetch(source: str, digest: str, models: Path, *, name: str | None = None) -> Path:
    """Downloads, checks and unpacks an archive into a folder of `models`, replacing one of that
    name. Returns the folder.

    The folder is called after the model and its pretrained tag unless `name` is given. If one holds
    this bundle already, nothing is downloaded. Raises ArchiveError, and then changes nothing.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ArchiveError(
            f"SHA256={digest} is no sha256; give the 64 digits that make pack wrote next to the"
            " archive"
        )
    models.mkdir(parents=True, exist_ok=True)
    if held := next(
        (folder for folder in complete(models, name or "*") if _archive_sha256(folder) == digest),
        None,
    ):
        return held
    # In the same file system as the result, so that a renaming puts it in place.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models) as temporary:
        archive = Path(temporary, "archive.tar")
        folder = Path(temporary, "bundle")
        _download(source, archive)
        if (actual := sha256(archive)) != digest:
            raise ArchiveError(
                f"{source} has the sha256 {actual} instead of {digest}; nothing was unpacked"
            )
        folder.mkdir()
        try:
            manifest = unpack(archive, folder)
        except (ArchiveError, tarfile.TarError, BundleError, ValidationError, OSError) as err:
            raise ArchiveError(f"{source} is not an archive that make pack wrote: {err}") from err
        name = name or manifest.name.replace("/", "-")
        if not re.fullmatch(r"\w[\w.+@-]*", name, re.ASCII):
            raise ArchiveError(f"{name!r} can't name a folder; choose another with NAME=…")
        target = models / name
        if target.exists():
            target.rename(Path(temporary, "replaced"))
        folder.rename(target)
    return target


def _archive_sha256(folder: Path) -> str | None:
    """The sha256 of the archive that `pack` would make of the folder; None if it is no valid
    bundle.
    """
    digest = hashlib.sha256()
    try:
        write_archive(folder, cast(IO[bytes], SimpleNamespace(write=digest.update)))
    except BundleError:
        return None
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> BundleManifest:
    """Unpacks into an empty folder exactly the files that the archive's first member, bundle.json,
    names, and checks them.

    Raises ArchiveError, tarfile.TarError, BundleError, ValidationError or OSError for anything
    else.
    """
    with tarfile.open(archive, "r:") as tar:
        manifest = BundleManifest.model_validate_json(
            _extract(tar, tar.next(), MANIFEST, MAX_MANIFEST_BYTES, folder).read_bytes()
        )
        for name in sorted(manifest.files):
            if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
                raise ArchiveError(f"{MANIFEST} names the file {name!r}")
            _extract(tar, tar.next(), name, manifest.files[name].bytes, folder)
        if extra := tar.next():
            raise ArchiveError(f"it holds {extra.name!r}, which {MANIFEST} does not name")
    return read_manifest(folder, verify_hashes=True)


def _extract(
    tar: tarfile.TarFile, member: tarfile.TarInfo | None, name: str, max_bytes: int, folder: Path
) -> Path:
    """Writes one member, which must be an ordinary file of that name and at most that size."""
    if member is None or member.name != name:
        raise ArchiveError(
            f"it holds {member.name!r} where {name} belongs" if member else f"{name} is missing"
        )
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ArchiveError(f"{name} is not an ordinary file")
    if member.size > max_bytes:
        raise ArchiveError(f"{name} has {member.size} bytes, more than the {max_bytes} expected")
    content = tar.extractfile(member)
    assert content  # an ordinary file has content
    with (folder / name).open("xb") as file:
        shutil.copyfileobj(content, file, CHUNK_BYTES)
    return folder / name


def _download(source: str, output: Path) -> None:
    """Copies an S3 object, an HTTPS address or a local file. Raises ArchiveError."""
    scheme, separator, _ = source.partition("://")
    try:
        if scheme == "s3" and separator:
            subprocess.run(
                ["aws", "s3", "cp", "--only-show-errors", source, str(output)], check=True
            )
        elif scheme == "https" and separator:
            with (
                requests.get(source, stream=True, timeout=TIMEOUT_S) as response,
                output.open("wb") as file,
            ):
                response.raise_for_status()
                size = 0
                for chunk in response.iter_content(CHUNK_BYTES):
                    size += len(chunk)
                    if size > MAX_ARCHIVE_BYTES:
                        raise ArchiveError(
                            f"{source} is larger than {MAX_ARCHIVE_BYTES} bytes, which no"
                            " function's image holds"
                        )
                    file.write(chunk)
        elif separator:
            raise ArchiveError(
                f"FROM={source} can't be fetched; allowed: s3://…, https://… or a path"
            )
        else:
            shutil.copyfile(source, output)
    except FileNotFoundError as err:
        raise ArchiveError(
            f"{err.filename} was not found"
            + ("; install the AWS CLI" if err.filename == "aws" else "")
        ) from err
    except subprocess.CalledProcessError as err:
        raise ArchiveError(f"aws s3 cp could not copy {source} (see above)") from err
    except (requests.RequestException, OSError) as err:
        raise ArchiveError(f"{source} could not be fetched: {err}") from err


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="archive", description="Packs a bundle into one file, or fetches such a file."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("folder", type=Path, nargs="?")
    packing.add_argument("--output", type=Path, help="default build/FOLDER.tar")
    fetching = commands.add_parser("fetch")
    fetching.add_argument("source", help="s3://…, https://… or a path")
    fetching.add_argument("sha256", type=str.lower)
    fetching.add_argument("--name", help="the folder in models/; default MODEL-PRETRAINED")
    arguments = parser.parse_args()
    try:
        if arguments.command == "pack":
            folder = announced(choose(arguments.folder))
            output = arguments.output or ROOT / "build" / f"{folder.resolve().name}.tar"
            print(f"{pack(folder, output)}  {os.path.relpath(output)}")
        else:
            folder = fetch(arguments.source, arguments.sha256, ROOT / "models", name=arguments.name)
            print(
                f"{os.path.relpath(folder)} holds the bundle; deploy it with: make deploy-cdk"
                f" BUNDLE={os.path.relpath(folder)}"
            )
    except (ArchiveError, BundleError) as err:
        sys.exit(f"error: {err}")


if __name__ == "__main__":
    main()
