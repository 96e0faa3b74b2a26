"""The API's composition root: reads the environment, loads the bundle and builds the handler."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from classifier import VERSION
from classifier.start import Start, begin_from_environment

# The image encoder loads on one core while the rest is imported on another.
start = begin_from_environment()

from classifier.api.handler import Handler, Store  # noqa: E402
from classifier.contract.bundle import read_manifest  # noqa: E402
from classifier.contract.classifiers.decision import without_threshold  # noqa: E402
from classifier.contract.classifiers.folder import read_classifiers  # noqa: E402
from classifier.contract.request.schema import ClassifyRequest  # noqa: E402
from classifier.model.encoders import Encoders  # noqa: E402
from classifier.storage.bucket import Bucket  # noqa: E402
from classifier.storage.request_images import RequestImages  # noqa: E402


def build(
    start: Start,
    *,
    cors_origin: str = "*",
    verify_hashes: bool = False,
    classifiers: Path | None = None,
    names: Sequence[str] | None = None,
    bucket: Store | None = None,
    version: str = VERSION,
) -> Handler:
    """Checks the bundle that is loading and the classifiers of a folder (all, or those named), and
    waits for both. Raises BundleError and ClassifierError.
    """
    manifest = read_manifest(start.sessions.folder, verify_hashes=verify_hashes)
    files = read_classifiers(classifiers, manifest, names) if classifiers else {}
    for name, file in files.items():
        if missing := without_threshold(file):
            logging.getLogger(__name__).warning(
                'Decisions of the classifier "%s" never name %s: without a threshold a label '
                "can't count.",
                name,
                ", ".join(f'"{label}"' for label in missing),
            )
    encoders = Encoders.of(start.sessions, manifest)
    handler = Handler(
        encoders,
        cors_origin=cors_origin,
        bucket=bucket,
        classifiers=files,
        start_ms=start.remaining_ms,
        version=version,
    )
    # Makes what the first request needs while the encoders load.
    ClassifyRequest.model_rebuild()
    encoders.ready()
    return handler


def _build(file: str | None) -> str:
    """What tells this image from others, as its build wrote it down."""
    return Path(file).read_text(encoding="utf-8") if file else ""


if start:
    handler = build(
        start,
        cors_origin=os.environ.get("CORS_ORIGIN", "*"),
        bucket=(
            RequestImages(Bucket(os.environ["BULK_BUCKET"], os.environ["BULK_PREFIX"]))
            if "BULK_BUCKET" in os.environ
            else None
        ),
        classifiers=(
            Path(os.environ["CLIP_CLASSIFIERS"]) if "CLIP_CLASSIFIERS" in os.environ else None
        ),
        version="+".join(filter(None, [VERSION, _build(os.environ.get("CLIP_BUILD"))])),
    )
