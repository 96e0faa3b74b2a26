"""The bulk function's entry: Step Functions' events go to the runs, those of SQS to the uploads."""

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Protocol

from classifier.start import Start, begin_from_environment

# The encoders load on one core while the rest is imported on another.
start = begin_from_environment()

from classifier.contract.bundle import read_manifest  # noqa: E402
from classifier.contract.classifiers.file import ClassifierFile  # noqa: E402
from classifier.contract.classifiers.folder import read_classifiers  # noqa: E402
from classifier.contract.strict_json import JsonObject  # noqa: E402
from classifier.engine.engine import Engine  # noqa: E402
from classifier.model.encoders import Encoders  # noqa: E402
from classifier.storage.bucket import Bucket  # noqa: E402
from classifier.storage.runs import Runs  # noqa: E402
from classifier.storage.uploads import Uploads  # noqa: E402

# The part of the function's time that a batch keeps for writing its results.
RESERVE_MS = 5_000


class LambdaContext(Protocol):
    def get_remaining_time_in_millis(self) -> int: ...


class BulkHandler:
    """A failing event never affects the next."""

    def __init__(
        self,
        encoders: Encoders,
        bucket: Bucket,
        uploads: Callable[[Engine], Uploads] | None = None,
        classifiers: Mapping[str, ClassifierFile] | None = None,
        start_ms: Callable[[], int] = lambda: 60_000,
    ) -> None:
        """`classifiers` and `start_ms` are passed to the Engine."""
        engine = Engine(encoders, classifiers, start_ms)
        self._runs = Runs(engine, encoders.manifest.name, bucket)
        self._uploads = uploads and cache(partial(uploads, engine))

    def __call__(self, event: JsonObject, context: LambdaContext) -> JsonObject:
        def remaining() -> int:
            return context.get_remaining_time_in_millis() - RESERVE_MS

        if "Records" in event:
            if self._uploads is None:
                raise RuntimeError("This deployment takes no uploads; set on_upload.")
            return self._uploads().classify(event["Records"], remaining)
        if "check" in event:
            run, started = str(event["run"]), str(event["started"])
            return self._runs.check(event["check"], run, started, remaining)
        return self._runs.classify(event, remaining)


def from_environment(start: Start) -> BulkHandler:
    """Reads the environment that stacks/bulk/bulk.py sets. Raises BundleError and
    ClassifierError.
    """
    manifest = read_manifest(start.sessions.folder, verify_hashes=False)
    bucket = Bucket(os.environ["BULK_BUCKET"], os.environ["BULK_PREFIX"])
    encoders = Encoders.of(start.sessions, manifest)
    folder = os.environ.get("CLIP_CLASSIFIERS")
    classifiers = read_classifiers(Path(folder), manifest) if folder else {}

    def uploads(classifier: Engine) -> Uploads:
        assets = Bucket(os.environ["ON_UPLOAD_BUCKET"], "")
        tags = os.environ.get("UPLOAD_TAGS") == "true"
        return Uploads(classifier, manifest.name, bucket, assets, os.environ["ON_UPLOAD_KEY"], tags)

    made = BulkHandler(
        encoders,
        bucket,
        uploads if "ON_UPLOAD_KEY" in os.environ else None,
        classifiers,
        start.remaining_ms,
    )
    encoders.ready()
    return made


if start:
    handler = from_environment(start)
