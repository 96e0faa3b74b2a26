"""Turns image files into embeddings: opens and checks them together, decodes them, and encodes them
in runs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifier.contract.errors import ApiError
from classifier.contract.request.query import File, Query
from classifier.engine.context import RequestContext
from classifier.images.decoder import DecodeBudget, DecodedImage
from classifier.images.opened_image import OpenedImage, check_pixels, open_image
from classifier.model.encoders import Encoders
from classifier.model.scoring import mean

P = ParamSpec("P")
T = TypeVar("T")
Embedding = NDArray[np.float32]
# A normalised embedding that went through JSON and float32 is this close to length 1.
LENGTH_TOLERANCE = 1e-3
FEWER_IMAGES = (
    "send fewer images in one call, or ask for fewer regions: the prompts finished so far are"
    " cached."
)


class ImageEmbedder:
    """Decodes and encodes images of one bundle."""

    def __init__(self, encoders: Encoders) -> None:
        self._encoders = encoders
        self._settings = encoders.manifest.image
        # One thread, since the decoder takes one image at a time.
        self._decoder = ThreadPoolExecutor(1)

    def decode(
        self, image: OpenedImage, query: Query, budget: DecodeBudget, context: RequestContext
    ) -> DecodedImage:
        """Raises ApiError for an image that can't be decoded."""
        with context.stage("decode"):
            return image.decode(self._settings, query.question.fit, budget, regions=query.regions)

    def decode_ahead(
        self,
        images: Sequence[OpenedImage | ApiError],
        query: Query,
        budget: DecodeBudget,
        context: RequestContext,
    ) -> Iterator[list[DecodedImage | ApiError]]:
        """Yields batches, each with enough squares to fill one run; an error stays in its place.
        The next images are decoded while the caller works on a batch, until the caller stops.
        """
        decode = partial(self.decode, query=query, budget=budget, context=context)
        batch: list[DecodedImage | ApiError] = []
        for image in self._decoder.map(partial(_unless_error, decode), images):
            context.check_deadline(FEWER_IMAGES)
            batch.append(image)
            if sum(map(_count, batch)) >= self._settings.max_batch:
                yield batch
                batch = []
        yield batch

    def embed(
        self, images: Sequence[DecodedImage], context: RequestContext
    ) -> list[list[Embedding]]:
        """For each image: its embedding [d], which is the mean of its squares' embeddings, then one
        embedding for each different box of its regions.
        """
        squares = [square for image in images for square in (*image.squares, *image.region_squares)]
        size = self._settings.max_batch
        rows: list[Embedding] = []
        with context.stage("image"):
            for start in range(0, len(squares), size):
                if start:
                    context.check_deadline(FEWER_IMAGES)
                rows += self._encoders.encode_images(squares[start : start + size])
        each = iter(rows)
        return [
            [mean([next(each) for _ in image.squares]), *(next(each) for _ in image.region_squares)]
            for image in images
        ]


def open_file(file: File, field: str) -> OpenedImage:
    """Raises ApiError."""
    if isinstance(file, ApiError):
        raise file
    # The handler has already read the files that lie in the bucket.
    assert isinstance(file, bytes)
    return open_image(file, field)


def capture_error(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | ApiError:
    try:
        return function(*args, **kwargs)
    except ApiError as err:
        return err


def log_and_check(
    images: Sequence[OpenedImage], files: Sequence[File], context: RequestContext
) -> None:
    """Raises ApiError for too many pixels in all."""
    context.log |= {
        "images": len(images),
        "bytes": sum(len(file) for file in files if isinstance(file, bytes)),
        "pixels": sum(image.pixels for image in images),
        "format": ",".join(sorted({image.format for image in images})),
    }
    check_pixels(images)


def embedding_of(values: Sequence[float], dimension: int, field: str) -> Embedding:
    """An embedding that a caller sent. Raises ApiError for one that this model can't have made."""
    if len(values) != dimension:
        message = (
            f"{field} has {len(values)} numbers; this model's embeddings have {dimension}. Take"
            " it from an answer of this endpoint."
        )
        raise ApiError(400, "invalid_request", message, field)
    length = math.hypot(*values)
    if abs(length - 1) > LENGTH_TOLERANCE:
        message = (
            f"{field} has the length {length:.4g} instead of 1; send the vector as the answer"
            " gave it."
        )
        raise ApiError(400, "invalid_request", message, field)
    return np.array(values, np.float32)


def _unless_error(
    decode: Callable[[OpenedImage], DecodedImage], image: OpenedImage | ApiError
) -> DecodedImage | ApiError:
    return image if isinstance(image, ApiError) else capture_error(decode, image)


def _count(image: DecodedImage | ApiError) -> int:
    if isinstance(image, ApiError):
        return 0
    return len(image.squares) + len(image.region_squares)
