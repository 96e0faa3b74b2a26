"""A request to its answer: pictures and prompts to embeddings, embeddings to probabilities. Plain values in and out."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifier.clip import Clip
from classifier.errors import ClientError
from classifier.image import Picture, open_image
from classifier.prompts import Prompt, Prompts
from classifier.question import Question, read_question
from classifier.schema import MOST_PIXELS_TOGETHER, NOT_BASE64, Classify, JsonObject, from_base64
from classifier.scoring import against, best, mean, sigmoid, similarities, softmax

P = ParamSpec("P")
T = TypeVar("T")
Embedding = NDArray[np.float32]
# A normalised embedding that went through JSON and float32 is this close to length 1.
NEAR_ONE = 1e-3


class Work(Protocol):
    """What a request brings along: its clocks and what its log line will say."""

    log: dict[str, object]

    def stage(self, name: str) -> AbstractContextManager[None]: ...

    def in_time(self) -> bool: ...


class Classifier:
    """Answers requests with one bundle; remembers the prompts."""

    def __init__(self, clip: Clip) -> None:
        self._clip, self._prompts = clip, Prompts(clip)
        # One: of pictures on their way to the size of the model no more than one is in memory.
        self._decoder = ThreadPoolExecutor(1)

    def answer(self, asked: Classify, work: Work) -> JsonObject:
        """{"result": …}, or {"results": […]} for several images. Raises ClientError."""
        question = read_question(asked, self._prompts, self._clip.settings)
        prompts = question.prompts
        work.log |= {"labels": len(question.present), "cache_hits": sum(prompt.embedding is not None for prompt in prompts)}
        if asked.image_embedding is not None:
            given = self._given(asked.image_embedding, asked.path("image_embedding"))
            return self._result(asked, question, self._texts(prompts, work), given, None)
        if asked.images is None:
            assert asked.image_data is not None
            picture = open_image(asked.image_data, asked.path("image_data"))
            self._note([picture], len(asked.image_data), work)
            [embedding] = self._encode([self._pixels(picture, asked, work)], work)
            return self._result(asked, question, self._texts(prompts, work), embedding, picture)
        return {"results": list(self._results(asked, question, prompts, work))}

    def _results(self, asked: Classify, question: Question, prompts: Sequence[Prompt], work: Work) -> Iterator[JsonObject]:
        """One entry an image; what is wrong with one stays its own."""
        assert asked.images is not None
        opened = [_tried(_open, text, asked.path("images", i)) for i, text in enumerate(asked.images)]
        self._note([one for one in opened if isinstance(one, Picture)], sum(map(len, asked.images)) * 3 // 4, work)
        # The next pictures are decoded while the last are encoded; whoever stops reading also stops the decoding.
        decoded = self._decoder.map(
            lambda one: one if isinstance(one, ClientError) else _tried(self._pixels, one, asked, work), opened
        )
        texts: NDArray[np.float64] | None = None
        group: list[tuple[Picture | ClientError, list[NDArray[np.uint8]] | ClientError]] = []
        for i, pair in enumerate(zip(opened, decoded, strict=True), 1):
            _look_at_the_clock(work)
            group.append(pair)
            good = [squares for _, squares in group if not isinstance(squares, ClientError)]
            if i < len(opened) and sum(map(len, good)) < self._clip.settings.image.at_once:
                continue
            if good:
                # Only now: a request of bad images alone costs no prompt.
                texts = self._texts(prompts, work) if texts is None else texts
                _look_at_the_clock(work)
            embeddings = iter(self._encode(good, work) if good else ())
            for picture, squares in group:
                if isinstance(squares, ClientError):
                    yield {"error": squares.body()}
                else:
                    assert texts is not None
                    yield self._result(asked, question, texts, next(embeddings), picture)
            group = []

    def _pixels(self, picture: Picture, asked: Classify, work: Work) -> list[NDArray[np.uint8]]:
        with work.stage("decode"):
            return picture.pixels(self._clip.settings.image, asked.fit)

    def _encode(self, pictures: Sequence[list[NDArray[np.uint8]]], work: Work) -> list[Embedding]:
        """The embedding of each picture, the mean of its squares'."""
        with work.stage("image"):
            rows = iter(self._clip.encode_images([square for squares in pictures for square in squares]))
            return [mean([next(rows) for _ in squares]) for squares in pictures]

    def _texts(self, prompts: Sequence[Prompt], work: Work) -> NDArray[np.float64]:
        with work.stage("text"):
            return np.stack(self._prompts.embed(prompts, work.in_time)).astype(np.float64)

    def _note(self, pictures: Sequence[Picture], size: int, work: Work) -> None:
        """Raises ClientError for too many pixels together."""
        pixels = sum(picture.width * picture.height for picture in pictures)
        work.log |= {
            "images": len(pictures),
            "bytes": size,
            "pixels": pixels,
            "format": ",".join(sorted({p.format for p in pictures})),
        }
        if pixels > MOST_PIXELS_TOGETHER:
            message = f"The images have {pixels:,} pixels together; at most {MOST_PIXELS_TOGETHER:,} are taken. Shrink them, or send fewer."
            raise ClientError(413, "too_large", message, "images")

    def _given(self, values: Sequence[float], field: str) -> Embedding:
        """An embedding of the caller's. Raises ClientError where this model can't have made it."""
        dimension = self._clip.settings.dimension
        if len(values) != dimension:
            message = f"{field} has {len(values)} numbers; this model's embeddings have {dimension}. Take it from an answer of this endpoint."
            raise ClientError(400, "invalid_request", message, field)
        length = math.hypot(*values)
        if abs(length - 1) > NEAR_ONE:
            message = f"{field} has the length {length:.4g} instead of 1; send the vector as the answer gave it."
            raise ClientError(400, "invalid_request", message, field)
        return np.array(values, np.float32)

    def _result(
        self, asked: Classify, question: Question, texts: NDArray[np.float64], image: Embedding, picture: object
    ) -> JsonObject:
        cosines = similarities(texts, image)
        shares = self._shares(asked, question, cosines)
        answer: JsonObject = {"result": best(question.names, shares, asked.min_probability, asked.top_k)}
        if asked.embedding:
            answer["embedding"] = image.tolist()
        if asked.details:
            settings = self._clip.settings
            texts_of = [prompt.text for prompt in question.prompts]
            answer["similarities"] = dict(zip(texts_of, cosines.tolist(), strict=True))
            answer["model"] = {
                "name": settings.model, "tag": settings.pretrained, "precision": settings.precision, "logit_scale": settings.logit_scale,
            }  # fmt: skip
            if isinstance(picture, Picture):
                answer["image"] = {"format": picture.format, "width": picture.width, "height": picture.height}
        return answer

    def _shares(self, asked: Classify, question: Question, cosines: NDArray[np.float64]) -> list[float]:
        """The probability of each name."""
        settings, count = self._clip.settings, len(question.present)
        logits = settings.logit_scale * cosines
        if asked.multi_label:
            if settings.scoring == "sigmoid":
                each = sigmoid(logits + (settings.logit_bias or 0))
            else:
                each = against(logits[:count], logits[count:])
            return [max(each[i] for i in group) for group in question.groups]
        if asked.combine == "max":
            return softmax(np.array([max(logits[i] for i in group) for group in question.groups]))
        each = softmax(logits)
        return [math.fsum(each[i] for i in group) for group in question.groups]


def _look_at_the_clock(work: Work) -> None:
    if not work.in_time():
        raise ClientError(503, "out_of_time", "Time ran out; send fewer images a call: labels done so far are kept.")


def _open(text: str, field: str) -> Picture:
    try:
        data = from_base64(text)
    except ValueError as err:
        raise ClientError(400, "invalid_request", f"{field} {NOT_BASE64}", field) from err
    return open_image(data, field)


def _tried(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | ClientError:
    try:
        return function(*args, **kwargs)
    except ClientError as err:
        return err
