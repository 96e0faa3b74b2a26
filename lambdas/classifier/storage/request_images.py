"""Images that a request of the API names in the bucket."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from classifier.contract.errors import ApiError, quoted
from classifier.contract.limits import MAX_OBJECT_BYTES, MAX_READ_BYTES
from classifier.contract.request.image_fields import StoredImage
from classifier.contract.request.query import Query
from classifier.storage.bucket import Bucket, too_large
from classifier.storage.items import Item, Replaced

READERS = 8


@dataclass(frozen=True)
class RequestImages:
    bucket: Bucket

    def fetch(self, query: Query) -> Query:
        """The query with the files that it names; of several images each keeps its own error.
        Raises ApiError.
        """
        stored = {i: file for i, file in enumerate(query.images) if isinstance(file, StoredImage)}
        if not stored:
            return query
        fields = [query.key_path(i) for i in stored]
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(self._stat_or_error, stored.values(), fields))
            total = sum(item.size or 0 for item in found if isinstance(item, Item))
            if total > MAX_READ_BYTES:
                message = (
                    f"The images in S3 have {total:,} bytes together; at most {MAX_READ_BYTES:,}"
                    " are allowed. Send fewer."
                )
                raise ApiError(413, "too_large", message, "images")
            read = dict(zip(stored, readers.map(self._read_or_error, found, fields), strict=True))
        files = [read.get(i, file) for i, file in enumerate(query.images)]
        if not query.several and isinstance(files[0], ApiError):
            raise files[0]
        return replace(query, images=files)

    def _stat_or_error(self, stored: StoredImage, field: str) -> Item | ApiError:
        try:
            item = self.bucket.stat(Item(stored.key))
            if (item.size or 0) > MAX_OBJECT_BYTES:
                raise too_large(stored.key, item.size or 0)
            return item
        except ApiError as err:
            return err.at(field)

    def _read_or_error(self, item: Item | ApiError, field: str) -> bytes | ApiError:
        if isinstance(item, ApiError):
            return item
        try:
            # An object that has replaced it since could be larger than the size that was counted.
            return self.bucket.read(replace(item, exact=True))[1]
        except Replaced:
            message = f"{quoted(item.key)} was replaced while it was read; send it again."
            return ApiError(503, "out_of_time", message, field)
        except ApiError as err:
            return err.at(field)
