"""Runs over a bucket's images, and uploads to it."""

from typing import Self

from pydantic import BaseModel, Field, model_validator

from classifier.contract.bucket_layout import MANIFESTS, MAP_RUNS, RESULTS
from stacks.settings.errors import SettingsError
from stacks.settings.function import MAX_MEMORY_MB
from stacks.settings.values import Bucket, Count, File, Key, Prefix

# The prefixes under which the function for runs and uploads writes.
OWN_PREFIXES = (RESULTS, MANIFESTS, MAP_RUNS)


class BulkSettings(BaseModel):
    """The bucket and what happens to its images."""

    bulk_bucket: Bucket = Field(
        default=None,
        description=(
            "`none`, `create`, or the name of a bucket in the region of the deployment: runs over"
            " its images ([bulk.md](bulk.md)), and `image_s3` in the API"
        ),
    )
    bulk_prefix: Prefix = Field(
        default="images/",
        description=(
            "the part of `bulk_bucket` that may be read: a prefix of keys, or `none` for all of"
            " them"
        ),
    )
    bulk_key: Key = Field(
        default=None,
        description=(
            "`none`, or the ARN of the KMS key that encrypts `bulk_bucket`, if it isn't S3's own"
        ),
    )
    bulk_memory: int = Field(
        default=1769,
        ge=1280,
        le=MAX_MEMORY_MB,
        description="1,280 to 10,240 MB for the function of runs and uploads; 1,769 are one vCPU",
    )
    results_days: Count = Field(
        default=None,
        description=(
            "`none`, or the days after which results, manifests and map runs are deleted; needs"
            " `bulk_bucket=create`"
        ),
    )
    on_upload: File = Field(
        default=None,
        description=(
            "`none`, or a JSON file of this repository with a request's labels, categories or"
            " classifier, and options: each new image is classified so"
        ),
    )
    upload_prefix: Prefix = Field(
        default=None,
        description=(
            "`none` for `bulk_prefix`, or a prefix under it: new images below it are classified"
        ),
    )
    upload_tags: bool = Field(
        default=False, description="`true` or `false`: new images get tags with their result"
    )
    upload_concurrency: int = Field(
        default=2,
        ge=2,
        le=1000,
        description="2 to 1,000: the most environments that classify uploads at once",
    )

    @model_validator(mode="after")
    def _check_bulk(self) -> Self:
        if not self.bulk_bucket:
            if self.on_upload:
                raise SettingsError(
                    f"on_upload={self.on_upload} needs bulk_bucket: the bucket that images are"
                    " uploaded to."
                )
            return self
        if self.results_days and self.bulk_bucket != "create":
            raise SettingsError(
                f"results_days={self.results_days} would replace the rules of"
                f" bulk_bucket={self.bulk_bucket}, which this stack doesn't own. Set the expiry"
                " there, or bulk_bucket=create."
            )
        if self.bulk_key and self.bulk_bucket == "create":
            raise SettingsError(
                f"bulk_key={self.bulk_key} is for a bucket that exists; bulk_bucket=create makes"
                " one with S3's own key. Remove it."
            )
        prefix = self.bulk_prefix or ""
        watched = self.watched_prefix
        if not watched.startswith(prefix):
            raise SettingsError(
                f"upload_prefix={watched} is not under bulk_prefix={prefix}, which is all that may"
                " be read."
            )
        # Results under the watched prefix would be uploads themselves, for ever.
        if self.on_upload and (
            own := next(
                (own for own in OWN_PREFIXES if own.startswith(watched) or watched.startswith(own)),
                None,
            )
        ):
            raise SettingsError(
                f"upload_prefix={watched or 'none'} watches {own}, where results are written: each"
                " result would be an upload again. Set upload_prefix to the images' own prefix."
            )
        return self

    @property
    def watched_prefix(self) -> str:
        """The prefix whose uploads are classified."""
        return self.upload_prefix or self.bulk_prefix or ""
