"""The API's composition root: reads the environment, loads the bundle and builds the handler."""

import os
from pathlib import Path

from classifier.bundle import read_manifest
from classifier.classifiers import read_classifiers
from classifier.encoders import Encoders
from classifier.handler import Handler
from classifier.s3 import Bucket
from classifier.start import prepare, start_budget, threads_for


def build(
    bundle: Path,
    *,
    threads: int,
    cors_origin: str = "*",
    verify_hashes: bool = False,
    classifiers: Path | None = None,
    bucket: Bucket | None = None,
) -> Handler:
    """Loads the bundle and the classifiers of a folder, and warms both up. Raises BundleError and ClassifierError.

    Where all classifiers are learned, the text encoder is loaded when it is first needed.
    """
    start_ms = start_budget()
    files = read_classifiers(classifiers, read_manifest(bundle, verify_hashes=False)) if classifiers else {}
    text = not files or any(file.head is None for file in files.values())
    encoders = Encoders.load(bundle, threads=threads, verify_hashes=verify_hashes, text=text)
    return Handler(
        encoders,
        cors_origin=cors_origin,
        bucket=bucket,
        classifiers=files,
        start_ms=start_ms,
    )


if "CLIP_BUNDLE" in os.environ:
    prepare()
    handler = build(
        Path(os.environ["CLIP_BUNDLE"]),
        threads=threads_for(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")),
        cors_origin=os.environ.get("CORS_ORIGIN", "*"),
        bucket=Bucket(os.environ["BULK_BUCKET"], os.environ["BULK_PREFIX"]) if "BULK_BUCKET" in os.environ else None,
        classifiers=Path(os.environ["CLIP_CLASSIFIERS"]) if "CLIP_CLASSIFIERS" in os.environ else None,
    )
