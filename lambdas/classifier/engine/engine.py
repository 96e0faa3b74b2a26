"""From a parsed request to its answer: images and prompts to embeddings, embeddings to
probabilities.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from classifier.contract.classifier_file import ClassifierFile
from classifier.contract.errors import ApiError
from classifier.contract.parsing import ParsedRequest
from classifier.contract.schema import MAX_IMAGES, NOT_BASE64, ClassifyRequest, JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import EncodedPrompt, PromptCache
from classifier.engine.prompts import PromptSet, check_answer_size, look_up_texts, make_prompt_set
from classifier.engine.registry import DeployedClassifier, LabelWeights, Registry
from classifier.engine.result import make_result
from classifier.images.decoder import DecodeBudget, DecodedImage
from classifier.images.opened_image import OpenedImage, check_pixels, open_image
from classifier.model.encoders import Encoders
from classifier.model.scoring import mean

P = ParamSpec("P")
T = TypeVar("T")
Embedding = NDArray[np.float32]
# Of several images, one may be what was no base64, or the reason why it can't be read.
File = bytes | ApiError | None
# A normalised embedding that went through JSON and float32 is this close to length 1.
LENGTH_TOLERANCE = 1e-3
FEWER_IMAGES = (
    "send fewer images in one call, or ask for fewer regions: the prompts finished so far are"
    " cached."
)


@dataclass(frozen=True)
class _Job:
    """One request on its way through the classifier."""

    parsed: ParsedRequest
    prompt_set: PromptSet
    context: RequestContext
    budget: DecodeBudget
    named: DeployedClassifier | None = None


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

    def answer(self, parsed: ParsedRequest, context: RequestContext) -> JsonObject:
        """{"result": …}, or {"results": […]} for several images. Raises ApiError."""
        named = (
            self.registry.find(parsed.request.classifier, parsed.path("classifier"))
            if parsed.request.classifier is not None
            else None
        )
        if named:
            parsed = named.apply_to(parsed)
            prompt_set = named.prompt_set
            check_answer_size(parsed.request, prompt_set, self._manifest.dimension)
        else:
            prompt_set = make_prompt_set(parsed, self._cache, self._manifest, context)
        request = parsed.request
        cached = sum(isinstance(prompt, EncodedPrompt) for prompt in prompt_set.prompts)
        cached = len(prompt_set.prompts) if named and named.vectors else cached
        if cached < len(prompt_set.prompts):
            # While the image is decoded.
            self._encoders.prepare_text()
        context.log |= {"labels": len(prompt_set.positives), "cache_hits": cached}
        context.log |= {"classifier": request.classifier} if named else {}
        context.log |= {"regions": request.regions} if request.regions else {}
        job = _Job(parsed, prompt_set, context, DecodeBudget(context.seconds_left()), named)
        if request.images is not None:
            return {"results": list(self._results(job, cast(Sequence[File], request.images)))}
        if request.image_embedding is not None:
            embedding = self._validate_embedding(
                request.image_embedding, parsed.path("image_embedding")
            )
            return make_result(
                request, prompt_set, self._embed_texts(job), [embedding], None, self._manifest
            )
        assert request.image_data is not None
        image = open_image(request.image_data, parsed.path("image_data"))
        _log_and_check([image], [request.image_data], context)
        decoded = self._decode(image, job)
        [embeddings] = self._embed_images([decoded], job)
        return make_result(
            request, prompt_set, self._embed_texts(job), embeddings, decoded, self._manifest
        )

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
        request = ParsedRequest(ClassifyRequest.model_construct())
        job = _Job(
            request, PromptSet([], [], prompts, []), context, DecodeBudget(context.seconds_left())
        )
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

    def _results(self, job: _Job, files: Sequence[File]) -> Iterator[JsonObject]:
        """One entry for each image; an error stays in its own entry."""
        images = [
            capture_error(_open, file, job.parsed.path("images", i)) for i, file in enumerate(files)
        ]
        _log_and_check(
            [image for image in images if isinstance(image, OpenedImage)],
            [file for file in files if isinstance(file, bytes)],
            job.context,
        )
        # The next images are decoded while the last ones are encoded; when the reader stops, so
        # does the decoding.
        decoded = self._decoder.map(
            lambda image: (
                image if isinstance(image, ApiError) else capture_error(self._decode, image, job)
            ),
            images,
        )
        texts: LabelWeights | None = None
        group: list[DecodedImage | ApiError] = []
        for i, outcome in enumerate(decoded, 1):
            job.context.check_deadline(FEWER_IMAGES)
            group.append(outcome)
            good = [image for image in group if isinstance(image, DecodedImage)]
            if i < len(images) and sum(map(_count, good)) < self._manifest.image.max_batch:
                continue
            if good:
                # Only now, so that a request with nothing but bad images encodes no prompt.
                texts = self._embed_texts(job) if texts is None else texts
                job.context.check_deadline(FEWER_IMAGES)
            embeddings = iter(self._embed_images(good, job) if good else ())
            for image in group:
                if isinstance(image, ApiError):
                    yield {"error": image.body()}
                else:
                    assert texts is not None
                    rows = next(embeddings)
                    yield make_result(
                        job.parsed.request, job.prompt_set, texts, rows, image, self._manifest
                    )
            group = []

    def _decode(self, image: OpenedImage, job: _Job) -> DecodedImage:
        with job.context.stage("decode"):
            return image.decode(
                self._manifest.image,
                job.parsed.request.fit,
                job.budget,
                regions=job.parsed.request.regions or 0,
            )

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
            if job.named:
                return self.registry.vectors(job.named, job.context)
            rows = np.stack(self._cache.embed(job.prompt_set.prompts, job.context)).astype(
                np.float64
            )
            return LabelWeights(rows, self._manifest.logit_scale)

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
    if file is None:
        raise ApiError(400, "invalid_request", f"{field} {NOT_BASE64}", field)
    return open_image(file, field)


def _count(image: DecodedImage) -> int:
    return len(image.squares) + len(image.region_squares)


def _log_and_check(
    images: Sequence[OpenedImage], files: Sequence[bytes], context: RequestContext
) -> None:
    """Raises ApiError for too many pixels in all."""
    context.log |= {
        "images": len(images),
        "bytes": sum(map(len, files)),
        "pixels": sum(image.pixels for image in images),
        "format": ",".join(sorted({image.format for image in images})),
    }
    check_pixels(images)
