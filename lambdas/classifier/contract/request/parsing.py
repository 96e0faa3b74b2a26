"""Turns JSON objects and query strings into checked requests."""

from collections.abc import Mapping, Sequence

from classifier.contract.base64 import NOT_BASE64
from classifier.contract.classifiers.decision import check_thresholds
from classifier.contract.errors import ApiError
from classifier.contract.limits import MAX_SQUARES
from classifier.contract.request.image_fields import StoredImage
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.request.query import File, Query, Question
from classifier.contract.request.schema import ClassifyRequest
from classifier.contract.request.validation import (
    check_exactly_one,
    check_question,
    refuse,
    validate,
)
from classifier.contract.strict_json import JsonObject

# The fields that hold a request's images. A request has none of them if its images come from a
# store.
IMAGE_FIELDS = ("image_data", "images", "image_embedding", "image_s3", "inputs", "parameters")
# The smallest possible PNG stands in for them.
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def parse_json(value: JsonObject) -> Query:
    """Raises ApiError."""
    request = validate(ClassifyRequest, value)
    check_exactly_one(
        request,
        ("image_data", "images", "image_embedding", "image_s3"),
        "is missing; send an image: image_data, images or image_embedding.",
    )
    check_combinations(request, len(request.images or ()))
    if request.images is not None:
        return make_query(request, list(map(_file, request.images, range(len(request.images)))))
    if request.image_s3:
        return make_query(request, [request.image_s3], {"image_data": "image_s3"})
    return make_query(request, [] if request.image_data is None else [request.image_data])


def parse_options(options: JsonObject) -> Query:
    """A request whose images come from a store: `images` holds a stand-in. Raises ApiError."""
    if named := next((name for name in IMAGE_FIELDS if options.get(name) is not None), None):
        raise ApiError(
            400,
            "invalid_request",
            f"{named} can't be sent here, since the images come from the store; remove it.",
            named,
        )
    return parse_json({**options, "images": [_PIXEL]})


def _file(file: bytes | StoredImage | None, i: int) -> File:
    if file is None:
        field = f"images.{i}"
        return ApiError(400, "invalid_request", f"{field} {NOT_BASE64}", field)
    return file


def make_query(
    request: ClassifyRequest, files: Sequence[File], field_names: Mapping[str, str] | None = None
) -> Query:
    return Query(
        question=Question.of(request),
        images=files,
        several=request.images is not None,
        image_embedding=request.image_embedding,
        classifier=request.classifier,
        regions=request.regions or 0,
        regions_combine=request.regions_combine,
        min_probability=request.min_probability,
        top_k=request.top_k,
        embedding=request.embedding,
        details=request.details,
        field_names=field_names or {},
    )


def check_combinations(request: ClassifyRequest, images: int) -> None:
    """Checks what no field can check alone. Raises ApiError."""
    if request.classifier is None:
        # One label alone is fine if the request asks for an embedding.
        check_question(request, one_label=request.embedding)
        check_thresholds(request)
    embedding = request.image_embedding
    named = request.classifier is not None
    contradictions = (
        *(
            (name, named, "is the classifier's own; remove it, or send it without classifier.")
            for name in LabelSpec.model_fields
        ),
        (
            "regions_combine",
            named,
            "changes the probabilities that a classifier's thresholds are for; remove it.",
        ),
        (
            "actions",
            request.thresholds is None,
            "need thresholds, from which on each action is taken; send thresholds, or remove them.",
        ),
        (
            "min_similarity",
            request.thresholds is None,
            "needs thresholds; send them, or remove it.",
        ),
        (
            "fit",
            embedding is not None,
            "prepares an image, and image_embedding has none; remove one of them.",
        ),
        (
            "regions",
            embedding is not None,
            "are cut from an image, and image_embedding has none; remove one of them.",
        ),
        (
            "regions",
            request.fit == "tiles",
            'and fit: "tiles" are two ways to cut an image; remove one of them.',
        ),
        ("regions_combine", request.regions is None, "needs regions; send them, or remove it."),
        (
            "regions_combine",
            request.regions_combine == "max" and not request.multi_label,
            'must be "whole" without multi_label; send that.',
        ),
    )
    refuse(request, contradictions)
    squares = (request.regions or 0) ** 2 + 1
    if request.regions and images * squares > MAX_SQUARES:
        message = (
            f"regions: {request.regions} makes {squares} squares of each of {images} images; at"
            f" most {MAX_SQUARES} are allowed in all. Send at most {MAX_SQUARES // squares}"
            " images, or fewer regions."
        )
        raise ApiError(400, "invalid_request", message, "regions")
