"""Answers queries: images and prompts become embeddings, and embeddings become probabilities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from classifier.contract.classifiers.file import ClassifierFile
from classifier.contract.errors import ApiError
from classifier.contract.limits import MAX_IMAGES
from classifier.contract.request.query import Query
from classifier.contract.strict_json import JsonObject
from classifier.engine.context import RequestContext
from classifier.engine.images import (
    FEWER_IMAGES,
    Embedding,
    ImageEmbedder,
    capture_error,
    embedding_of,
    log_and_check,
    open_file,
)
from classifier.engine.limits import check_answer_size
from classifier.engine.prompt_cache import EncodedPrompt, PromptCache
from classifier.engine.prompts import PromptSet, look_up_texts, make_prompt_set
from classifier.engine.registry import DeployedClassifier, LabelWeights, Registry
from classifier.engine.result import make_result
from classifier.images.decoder import DecodeBudget, DecodedImage
from classifier.images.opened_image import OpenedImage, open_image
from classifier.model.encoders import Encoders


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
        self._images = ImageEmbedder(encoders)

    def answer(self, query: Query, context: RequestContext) -> JsonObject:
        """{"result": …}, or {"results": […]} for several images. Raises ApiError."""
        job = self._job(query, context)
        query = job.query
        if query.several:
            return {"results": self._results(job)}
        if query.image_embedding is not None:
            field = query.path("image_embedding")
            rows = [embedding_of(query.image_embedding, self._manifest.dimension, field)]
            return self._result(job, self._embed_texts(job), rows, None)
        image = open_file(query.images[0], query.image_path(0))
        log_and_check([image], query.images, context)
        decoded = self._images.decode(image, query, job.budget, context)
        [rows] = self._images.embed([decoded], context)
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
            # The text encoder loads while the image is decoded.
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
        log_and_check(images, [item for item in inputs if isinstance(item, bytes)], context)
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
        with context.stage("text"):
            rows = iter(self._cache.embed(prompts, context))
        decoded = []
        for image in images:
            context.check_deadline("send fewer images in one call.")
            decoded.append(self._images.decode(image, Query(), budget, context))
        each = iter([embedding for embedding, *_ in self._images.embed(decoded, context)])
        # Without those at the start and the end, which the caller didn't send.
        text = self._manifest.text
        own = len(text.start_ids) + len(text.end_ids)
        tokens = sum(len(prompt.ids) - own for prompt in prompts)
        return [next(rows) if isinstance(item, str) else next(each) for item in inputs], tokens

    def _results(self, job: _Job) -> list[JsonObject]:
        """One entry for each image; an error stays in its own entry."""
        query = job.query
        images = [
            capture_error(open_file, file, query.image_path(i))
            for i, file in enumerate(query.images)
        ]
        good = [image for image in images if isinstance(image, OpenedImage)]
        log_and_check(good, query.images, job.context)
        # Prompts are encoded when the first good image comes, so a request of bad images encodes
        # none.
        texts = cache(partial(self._embed_texts, job))
        results: list[JsonObject] = []
        for batch in self._images.decode_ahead(images, query, job.budget, job.context):
            results += self._batch_results(batch, job, texts)
        return results

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
        rows = iter(self._images.embed(good, job.context))
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

    def _embed_texts(self, job: _Job) -> LabelWeights:
        """The embeddings of all prompts, or the vectors that were learned instead of them."""
        with job.context.stage("text"):
            if job.deployed:
                return self.registry.vectors(job.deployed, job.context)
            rows = self._cache.embed(job.prompt_set.prompts, job.context)
            return LabelWeights(np.stack(rows).astype(np.float64), self._manifest.logit_scale)
