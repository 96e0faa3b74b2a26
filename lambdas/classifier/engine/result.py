"""Turns embeddings into the answer for one image: probabilities, decision, regions and details."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.decision import decide
from classifier.contract.request.query import Query, Question
from classifier.contract.strict_json import JsonObject
from classifier.engine.prompts import PromptSet
from classifier.engine.registry import LabelWeights
from classifier.images.decoder import DecodedImage
from classifier.model.scoring import probabilities, rank, similarities


def make_result(
    query: Query,
    prompt_set: PromptSet,
    texts: LabelWeights,
    embeddings: Sequence[NDArray[np.float32]],
    image: DecodedImage | None,
    manifest: BundleManifest,
) -> JsonObject:
    """`embeddings` [d]: the image's, then one for each different box of its regions. `image` is
    None if the request sent an embedding.
    """
    question = query.question
    products = [similarities(texts.rows, embedding) for embedding in embeddings]
    whole, *parts = (
        label_probabilities(texts.scale * each, prompt_set.groups, question, manifest)
        for each in products
    )
    is_max = query.regions_combine == "max"
    shares = [max(column) for column in zip(whole, *parts, strict=True)] if is_max else whole
    cosines = products if texts.lengths is None else [each / texts.lengths for each in products]
    answer: JsonObject = {
        "result": rank(prompt_set.names, shares, query.min_probability, query.top_k)
    }
    if question.thresholds is not None:
        largest = max(
            float(each[: len(prompt_set.positives)].max())
            for each in cosines[: None if is_max else 1]
        )
        complete = dict(zip(prompt_set.names, shares, strict=True))
        answer["decision"] = decide(
            complete, question.thresholds, question.actions, largest, question.min_similarity
        )
    if query.regions and image:
        places = {name: i for i, name in enumerate(prompt_set.names)}
        by_box = dict(zip(dict.fromkeys(image.boxes), parts, strict=True))
        answer["regions"] = [
            {
                "box": list(box),
                "result": {name: by_box[box][places[name]] for name in answer["result"]},
            }
            for box in image.boxes
        ]
    if query.embedding:
        answer["embedding"] = embeddings[0].tolist()
    if query.details:
        answer["similarities"] = dict(zip(prompt_set.texts, cosines[0].tolist(), strict=True))
        answer["model"] = {
            "name": manifest.model,
            "tag": manifest.pretrained,
            "fingerprint": manifest.fingerprint,
            "precision": manifest.precision,
            "logit_scale": manifest.logit_scale,
            **({"logit_bias": manifest.logit_bias or 0.0} if manifest.scoring == "sigmoid" else {}),
        }
        if image:
            answer["image"] = {
                "format": image.format,
                "width": image.width,
                "height": image.height,
            }
            if image.converted_from:
                answer["image"]["converted_from"] = image.converted_from
            if image.is_profile_too_large:
                answer["image"]["ignored"] = "The colour profile has more than 4 MB."
    return answer


def label_probabilities(
    logits: NDArray[np.float64],
    groups: Sequence[Sequence[int]],
    question: Question,
    manifest: BundleManifest,
) -> list[float]:
    """The probability of each of the question's names, by the model's own rule."""
    return probabilities(
        logits,
        groups,
        multi_label=question.multi_label,
        combine=question.combine,
        scoring=manifest.scoring,
        bias=manifest.logit_bias,
    )
