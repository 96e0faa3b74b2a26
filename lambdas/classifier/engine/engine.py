"""From a query to its answer: images and prompts to embeddings, embeddings to
probabilities.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifier.contract.classifier_file import ClassifierFile
from classifier.contract.errors import ApiError
from classifier.contract.limits import MAX_IMAGES
from classifier.contract.query import File, Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.limits import check_answer_size
from classifier.engine.prompt_cache import EncodedPrompt, PromptCache
from classifier.engine.prompts import PromptSet, look_up_texts, make_prompt_set
from classifier.engine.registry import DeployedClassifier, LabelWeights, Registry
from classifier.engine.result import make_result
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


@dataclass(frozen=True)
class _Job:
    """One query on its way through the engine."""

    query: Query
    prompt_set: PromptSet
    context: RequestContext
    budget: DecodeBudget
    deployed: DeployedClassifier | None = None


class Engine:
    """Answers requests with one bundle and remembers the prompts it has encoded."""

    def __init__(
        self,
        encoders: Encoders,
        files: Mapping[str, ClassifierFile] | None = None,
        start_ms: Callable[[], int] = lambda: 60_000,
    ) -> None:
        """`files`: the deployed classifiers by name; `start_ms` tells how many milliseconds are
        left for their prompts.

        Raises ClassifierError.
        """
        self._encoders = encoders
        self._manifest = encoders.manifest
        self._cache = PromptCache(encoders)
        self.registry = Registry(files or {}, self._cache, self._manifest, start_ms)
        # One thread, since the decoder takes one image at a time.
        self._decoder = ThreadPoolExecutor(1)

    def answer(self, query: Query, context: RequestContext) -> JsonObject:
        """{"result": …}, or {"results": […]} for several images. Raises ApiError."""
        job = self._job(query, context)
        if query.several:
            return {"results": self._results(job)}
        if query.image_embedding is not None:
            field = query.path("image_embedding")
            rows = [self._validate_embedding(query.image_embedding, field)]
            return self._result(job, self._embed_texts(job), rows, None)
        image = _open(query.images[0], query.image_path(0))
        _log_and_check([image], query.images, context)
        decoded = self._decode(image, job)
        [rows] = self._embed_images([decoded], job)
        return self._result(job, self._embed_texts(job), rows, decoded)

    def _job(self, query: Query, context: RequestContext) -> _Job:
        """Raises ApiError for prompts that can't be encoded or an answer that can't be sent."""
        deployed = None
        if query.classifier is not None:
            deployed = self.registry.find(query.classifier, query.path("classifier"))
            query = replace(query, question=deployed.question)
            prompt_set = deployed.prompt_set
            check_answer_size(query, prompt_set.names, prompt_set.texts, self._manifest.dimension)
        else:
            prompt_set = make_prompt_set(query, self._cache, self._manifest, context)
        cached = sum(isinstance(prompt, EncodedPrompt) for prompt in prompt_set.prompts)
        if deployed and deployed.vectors:
            cached = len(prompt_set.prompts)
        if cached < len(prompt_set.prompts):
            # While the image is decoded.
            self._encoders.prepare_text()
        context.log |= {"labels": len(prompt_set.positives), "cache_hits": cached}
        context.log |= {"classifier": query.classifier} if deployed else {}
        context.log |= {"regions": query.regions} if query.regions else {}
        budget = DecodeBudget(context.seconds_left())
        return _Job(query, prompt_set, context, budget, deployed)

    def embed(
        self, inputs: Sequence[str | bytes], context: RequestContext
    ) -> tuple[list[Embedding], int]:
        """The embeddings [d] of texts and of images, in order, and how many tokens the texts
        have. Raises ApiError.
        """
        fields = [f"input.{i}" for i in range(len(inputs))]
        images = [
            open_image(item, field)
            for item, field in zip(inputs, fields, strict=True)
            if isinstance(item, bytes)
        ]
        if len(images) > MAX_IMAGES:
            message = f"input has {len(images)} images; at most {MAX_IMAGES} are allowed."
            raise ApiError(400, "invalid_request", message, "input")
        _log_and_check(images, [item for item in inputs if isinstance(item, bytes)], context)
        texts = [
            (item, field)
            for item, field in zip(inputs, fields, strict=True)
            if isinstance(item, str)
        ]
        prompts = look_up_texts(
            [text for text, _ in texts], [field for _, field in texts], self._cache, context
        )
        context.log |= {"texts": len(prompts)}
        budget = DecodeBudget(context.seconds_left())
        job = _Job(Query(), PromptSet([], [], prompts, []), context, budget)
        with context.stage("text"):
            rows = iter(self._cache.embed(prompts, context))
        decoded = []
        for image in images:
            context.check_deadline("send fewer images in one call.")
            decoded.append(self._decode(image, job))
        each = iter([embedding for embedding, *_ in self._embed_images(decoded, job)])
        # The start and the end token aren't the caller's.
        tokens = sum(len(prompt.ids) - 2 for prompt in prompts)
        return [next(rows) if isinstance(item, str) else next(each) for item in inputs], tokens

    def _results(self, job: _Job) -> list[JsonObject]:
        """One entry for each image; an error stays in its own entry."""
        query = job.query
        images = [
            capture_error(_open, file, query.image_path(i)) for i, file in enumerate(query.images)
        ]
        good = [image for image in images if isinstance(image, OpenedImage)]
        _log_and_check(good, query.images, job.context)
        # The next images are decoded while the last ones are encoded; once this method ends, so
        # does the decoding.
        decoded = self._decoder.map(partial(self._decode_or_error, job=job), images)
        # Encoded once there is a good image: a request with nothing but bad ones encodes no prompt.
        texts = cache(partial(self._embed_texts, job))
        results: list[JsonObject] = []
        batch: list[DecodedImage | ApiError] = []
        for image in decoded:
            job.context.check_deadline(FEWER_IMAGES)
            batch.append(image)
            if sum(map(_count, batch)) >= self._manifest.image.max_batch:
                results += self._batch_results(batch, job, texts)
                batch = []
        return results + self._batch_results(batch, job, texts)

    def _batch_results(
        self,
        batch: Sequence[DecodedImage | ApiError],
        job: _Job,
        texts: Callable[[], LabelWeights],
    ) -> list[JsonObject]:
        good = [image for image in batch if isinstance(image, DecodedImage)]
        if not good:
            return [{"error": err.body()} for err in batch if isinstance(err, ApiError)]
        weights = texts()
        job.context.check_deadline(FEWER_IMAGES)
        rows = iter(self._embed_images(good, job))
        return [
            {"error": image.body()}
            if isinstance(image, ApiError)
            else self._result(job, weights, next(rows), image)
            for image in batch
        ]

    def _result(
        self,
        job: _Job,
        weights: LabelWeights,
        rows: Sequence[Embedding],
        image: DecodedImage | None,
    ) -> JsonObject:
        return make_result(job.query, job.prompt_set, weights, rows, image, self._manifest)

    def _decode(self, image: OpenedImage, job: _Job) -> DecodedImage:
        with job.context.stage("decode"):
            return image.decode(
                self._manifest.image,
                job.query.question.fit,
                job.budget,
                regions=job.query.regions,
            )

    def _decode_or_error(self, image: OpenedImage | ApiError, job: _Job) -> DecodedImage | ApiError:
        return image if isinstance(image, ApiError) else capture_error(self._decode, image, job)

    def _embed_images(self, images: Sequence[DecodedImage], job: _Job) -> list[list[Embedding]]:
        """For each image its embedding [d], the mean of its squares', and one for each different
        box of its regions.
        """
        squares = [square for image in images for square in (*image.squares, *image.region_squares)]
        size = self._manifest.image.max_batch
        rows: list[Embedding] = []
        with job.context.stage("image"):
            for start in range(0, len(squares), size):
                if start:
                    job.context.check_deadline(FEWER_IMAGES)
                rows += self._encoders.encode_images(squares[start : start + size])
        each = iter(rows)
        return [
            [mean([next(each) for _ in image.squares]), *(next(each) for _ in image.region_squares)]
            for image in images
        ]

    def _embed_texts(self, job: _Job) -> LabelWeights:
        """The embeddings of all prompts, or what was learned in their place."""
        with job.context.stage("text"):
            if job.deployed:
                return self.registry.vectors(job.deployed, job.context)
            rows = self._cache.embed(job.prompt_set.prompts, job.context)
            return LabelWeights(np.stack(rows).astype(np.float64), self._manifest.logit_scale)

    def _validate_embedding(self, values: Sequence[float], field: str) -> Embedding:
        """Raises ApiError for an embedding that this model can't have made."""
        dimension = self._manifest.dimension
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


def capture_error(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | ApiError:
    try:
        return function(*args, **kwargs)
    except ApiError as err:
        return err


def _open(file: File, field: str) -> OpenedImage:
    if isinstance(file, ApiError):
        raise file
    # The entry has fetched what lies in the bucket.
    assert isinstance(file, bytes)
    return open_image(file, field)


def _count(image: DecodedImage | ApiError) -> int:
    if isinstance(image, ApiError):
        return 0
    return len(image.squares) + len(image.region_squares)


def _log_and_check(
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
