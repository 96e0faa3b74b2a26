"""Deployed classifiers, with their prompts checked and their vectors ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.decision import without_threshold
from classifier.contract.classifiers.file import ClassifierFile
from classifier.contract.errors import ApiError
from classifier.contract.request.label_spec import LabelSpec
from classifier.contract.request.query import Question
from classifier.contract.request.unknown import unknown_name
from classifier.contract.strict_json import JsonObject
from classifier.engine.check import prompt_set_of
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.prompts import PromptSet


class LabelWeights(NamedTuple):
    """An image's embedding is multiplied by `rows` [n, d], then by `scale`. `lengths` [n]: the
    lengths of a head's rows; the products divided by them are cosines. The prompts' embeddings have
    length 1.
    """

    rows: NDArray[np.float64]
    scale: float
    lengths: NDArray[np.float64] | None = None


@dataclass
class DeployedClassifier:
    """One deployed classifier. `scoring`: what its probabilities mean, as ClassifierInfo has it;
    `vectors`: None until its prompts are encoded.
    """

    file: ClassifierFile
    question: Question
    prompt_set: PromptSet
    scoring: Literal["softmax", "negatives", "sigmoid"]
    vectors: LabelWeights | None = None

    def describe(self, name: str) -> JsonObject:
        """Its entry in `GET /classifiers`: its question, so that a caller may change it and send
        it.
        """
        file = self.file
        return {
            "name": name,
            "description": file.description,
            **{field: getattr(file, field) for field in LabelSpec.model_fields},
            # A model's own sigmoid takes no negatives, nor would a request with one be answered.
            **({"negative_template": None} if self.scoring == "sigmoid" else {}),
            "labels": list(self.prompt_set.names),
            "scoring": self.scoring,
            "without_threshold": without_threshold(file),
            "fitted": bool(file.fitted_on and file.thresholds),
            "learned": file.head is not None,
        }


class Registry:
    """The deployed classifiers by name."""

    def __init__(
        self,
        files: Mapping[str, ClassifierFile],
        cache: PromptCache,
        manifest: BundleManifest,
        remaining_ms: Callable[[], int],
    ) -> None:
        """Encodes the prompts while the start-up has time. The first call that needs the others
        encodes them.

        Raises ClassifierError for prompts that a request would be refused for.
        """
        self._cache = cache
        self._scale = manifest.logit_scale
        context = RequestContext(remaining_ms)
        self._by_name = {
            name: _prepare(name, file, cache, manifest) for name, file in files.items()
        }
        try:
            for deployed in self._by_name.values():
                self.vectors(deployed, context)
        except ApiError as err:
            if err.status != 503:
                raise

    def find(self, name: str, field: str = "classifier") -> DeployedClassifier:
        """Raises ApiError for a name that isn't deployed."""
        if name not in self._by_name:
            message = f"{field} has {unknown_name(name, list(self._by_name), 'classifier')}"
            raise ApiError(400, "invalid_request", message, field)
        return self._by_name[name]

    def vectors(self, deployed: DeployedClassifier, context: RequestContext) -> LabelWeights:
        """Raises a 503 ApiError when time runs out; prompts encoded by then stay cached."""
        if deployed.vectors is None:
            rows = np.stack(self._cache.embed(deployed.prompt_set.prompts, context)).astype(
                np.float64
            )
            deployed.vectors = LabelWeights(rows, self._scale)
        return deployed.vectors

    @property
    def names(self) -> Sequence[str]:
        return list(self._by_name)

    def describe(self) -> JsonObject:
        """The answer to `GET /classifiers`."""
        return {
            "classifiers": [deployed.describe(name) for name, deployed in self._by_name.items()]
        }


def _prepare(
    name: str, file: ClassifierFile, cache: PromptCache, manifest: BundleManifest
) -> DeployedClassifier:
    question = Question.of(file)
    prompt_set = prompt_set_of(name, question, cache, manifest)
    alone: Literal["negatives", "sigmoid"] = (
        "sigmoid" if manifest.scoring == "sigmoid" else "negatives"
    )
    scoring = alone if file.multi_label else "softmax"
    if file.head is None:
        return DeployedClassifier(file, question, prompt_set, scoring)
    rows = np.array(file.head.floats(), np.float64).reshape(-1, manifest.dimension)
    lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
    weights = LabelWeights(rows, file.head.scale, lengths)
    return DeployedClassifier(file, question, prompt_set, scoring, weights)
