"""The API's composition root: reads the environment, loads the bundle and builds the handler."""

import os
from pathlib import Path

from classifier.encoders import Encoders
from classifier.handler import Handler
from classifier.s3 import Bucket
from classifier.start import start


def build(
    bundle: Path, *, threads: int, cors_origin: str = "*", verify_hashes: bool = False, bucket: Bucket | None = None
) -> Handler:
    """Loads the bundle and warms it up. Raises BundleError."""
    encoders = Encoders.load(bundle, threads=threads, verify_hashes=verify_hashes)
    return Handler(encoders, cors_origin=cors_origin, bucket=bucket)


if "CLIP_BUNDLE" in os.environ:
    handler = Handler(
        start(),
        cors_origin=os.environ.get("CORS_ORIGIN", "*"),
        bucket=Bucket(os.environ["BULK_BUCKET"], os.environ["BULK_PREFIX"]) if "BULK_BUCKET" in os.environ else None,
    )
