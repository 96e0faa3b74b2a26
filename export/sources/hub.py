"""Fetches weights from the Hugging Face hub, with the licence that their card names."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from tqdm import tqdm

from classifier.contract.bundle import sha256
from export.ahead import PERMISSIVE, RemoteFile
from export.errors import ExportError
from export.table import rows

TIMEOUT_SECONDS = 10
ADVICE = (
    "docs/models.md says what helps behind a proxy and if downloads hang: HTTPS_PROXY,"
    " HF_HUB_DISABLE_XET=1, HF_TOKEN."
)


@dataclass(frozen=True)
class Fetched:
    path: Path
    revision: str
    sha256: str
    licence: str | None


def fetch(
    repository: str,
    files: Sequence[str],
    revision: str | None,
    licence: str | None,
    accepted: str | None,
    say: Callable[[str], None],
) -> Fetched:
    """The first of `files` that the repository has, from the cache if it is there. Raises
    ExportError.
    """
    try:
        info = huggingface_hub.HfApi().model_info(
            repository, revision=revision, timeout=TIMEOUT_SECONDS, files_metadata=True
        )
    except (RepositoryNotFoundError, GatedRepoError) as err:
        raise ExportError(
            f"The hub doesn't give {repository}: it isn't there or wants a token (HF_TOKEN)."
            f" {_reason(err)}"
        ) from err
    except Exception as err:  # the client raises its HTTP library's own errors too
        if isinstance(err, HfHubHTTPError) and err.response.status_code in (404, 422):
            raise ExportError(f"The hub has no revision {revision} of {repository}.") from err
        return _cached(repository, files, revision, licence, accepted, err)
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
    file = next((name for name in files if name in sizes), None)
    if file is None:
        raise ExportError(
            f"{repository} has none of {', '.join(files)} at revision {info.sha}; it has"
            f" {', '.join(sizes) or 'nothing'}."
        )
    on_card = licence_of(info.card_data)
    known = rows.licence_of(repository)
    if on_card and known and on_card != known:
        say(
            f"{repository}: the card says {on_card}, the table {known}: the table of `make models`"
            " is out of date"
        )
    licence = licence or on_card
    check_licence(repository, licence, accepted)
    if (size := sizes[file]) is not None:
        say(
            f"fetching {file} of {repository}, {size / 1e6:.0f} MB; what is in the cache already is"
            " taken from there"
        )
    large = next(sibling.lfs for sibling in info.siblings or () if sibling.rfilename == file)
    begun = large and RemoteFile(repository, file, str(info.sha), large.sha256, large.size)
    if begun and begun.part.exists():
        _finish(begun)
    path = _download(repository, file, revision)
    if "README.md" in sizes:
        _download(repository, "README.md", revision)  # so that the licence is known offline too
    return _checked(path, path.parent.name, licence)


def fetch_optional(repository: str, file: str, revision: str) -> Path | None:
    """None if the repository has no such file at that commit. Raises ExportError."""
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except RemoteEntryNotFoundError:
        return None
    except Exception as err:  # the client raises its HTTP library's own errors too
        raise _failed(file, repository, err) from err


def _cached(
    repository: str,
    files: Sequence[str],
    revision: str | None,
    licence: str | None,
    accepted: str | None,
    problem: Exception,
) -> Fetched:
    for file in files:
        try:
            path = Path(
                huggingface_hub.hf_hub_download(
                    repository, file, revision=revision, local_files_only=True
                )
            )
        except LocalEntryNotFoundError:
            continue
        card = path.parent / "README.md"
        if licence is None and card.is_file():
            licence = licence_of(
                huggingface_hub.ModelCard.load(card, ignore_metadata_errors=True).data
            )
        check_licence(repository, licence, accepted)
        return _checked(path, path.parent.name, licence)
    raise ExportError(
        f"The hub can't be reached and the weights are not in the cache ({_reason(problem)})."
        f" {ADVICE}"
    ) from problem


def _finish(file: RemoteFile) -> None:
    """What was fetched ahead; if it can't be finished, the hub's client begins again."""
    begun = file.part.stat().st_size
    try:
        with tqdm(total=file.size, initial=begun, unit="B", unit_scale=True) as bar:

            def tell(there: int) -> None:
                bar.update(there - bar.n)

            file.fetch(tell)
    except (OSError, HTTPException):
        file.part.unlink(missing_ok=True)


def _download(repository: str, file: str, revision: str | None) -> Path:
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
    except Exception as err:  # the client raises its HTTP library's own errors too
        raise _failed(file, repository, err) from err


def _failed(file: str, repository: str, err: Exception) -> ExportError:
    return ExportError(
        f"{file} of {repository} could not be downloaded ({_reason(err)}). Within a run the"
        f" client resumes; the next run starts this file over. {ADVICE}"
    )


def _checked(path: Path, revision: str, licence: str | None) -> Fetched:
    blob = path.resolve()
    digest = sha256(path)
    # The hub names a large file by its sha256, and its client checks the size alone.
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and digest != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise ExportError(
            f"The downloaded {path.name} has the wrong sha256 and was deleted; run it again."
        )
    return Fetched(path, revision, digest, licence)


def licence_of(card: Any) -> str | None:
    """A card whose licence is `other` has its name in `license_name`."""
    licence = getattr(card, "license", None)
    if licence == "other":
        licence = getattr(card, "license_name", None) or licence
    return str(licence) if licence else None


def check_licence(repository: str, licence: str | None, accepted: str | None) -> None:
    """Raises ExportError for a licence that limits what the weights may be used for, until it is
    accepted by name.
    """
    if licence and licence.lower() not in PERMISSIVE and licence != accepted:
        raise ExportError(
            f"The weights of {repository} have the licence {licence}, which may allow research"
            f" alone or limit use in other ways. Read https://huggingface.co/{repository}; to go"
            f" on: ACCEPT_LICENCE={licence}"
        )


def _reason(err: BaseException) -> str:
    cause = err.__cause__ or err.__context__ or err
    return " ".join(str(cause).split())[:300]
