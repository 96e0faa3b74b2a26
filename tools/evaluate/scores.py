"""Embeddings to a classifier's probabilities, by the run time's own rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifier_file import ClassifierFile
from classifier.contract.fields import Fit
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.registry import Registry
from classifier.model.encoders import Encoders
from classifier.model.scoring import Floats, probabilities
from tools.classify import unlimited
from tools.evaluate.embeddings import Cache, Outcome, embed

# How many pictures' products with all prompts are in memory at a time.
ROWS = 1024


class Scores(NamedTuple):
    """`probabilities`: float64 [N, L], in the order of `names`; `largest`: each picture's largest cosine [N], for min_similarity."""

    names: list[str]
    probabilities: Floats
    largest: Floats


class Source(Protocol):
    """Where a model is: here, or behind an endpoint."""

    @property
    def manifest(self) -> BundleManifest: ...

    def embed(self, fit: Fit | None, files: Mapping[str, Path], cache: Cache) -> dict[str, Outcome]:
        """The embedding of each picture, or why it has none, by the sha256 of its content."""

    def prepare(self, files: Mapping[str, ClassifierFile]) -> Registry:
        """The classifiers with their prompts encoded. Raises ClassifierError."""


class Bundle:
    """A model on this machine."""

    def __init__(self, folder: Path, processes: int) -> None:
        """Raises BundleError."""
        self._folder, self._processes = folder, processes
        self._encoders = Encoders.load(folder, threads=processes, verify_hashes=True)
        self.manifest = self._encoders.manifest

    def embed(self, fit: Fit | None, files: Mapping[str, Path], cache: Cache) -> dict[str, Outcome]:
        return embed(self._folder, self.manifest, fit, files, cache, self._processes)

    def prepare(self, files: Mapping[str, ClassifierFile]) -> Registry:
        return Registry(files, PromptCache(self._encoders), self.manifest, unlimited)


def score(classifiers: Registry, name: str, manifest: BundleManifest, embeddings: NDArray[np.float32]) -> Scores:
    """What the API answers to each picture, whatever is asked for beside: `embeddings` [N, d]."""
    named = classifiers.find(name)
    file, prompt_set, vectors = named.file, named.prompt_set, classifiers.vectors(named, RequestContext(unlimited))
    shares, largest = list[list[float]](), list[Floats]()
    for start in range(0, len(embeddings), ROWS):
        products = embeddings[start : start + ROWS].astype(np.float64) @ vectors.rows.T
        shares += [
            probabilities(
                vectors.scale * row, prompt_set.groups, multi_label=file.multi_label, combine=file.combine,
                scoring=manifest.scoring, bias=manifest.logit_bias,
            ) for row in products
        ]  # fmt: skip
        cosines = products if vectors.lengths is None else products / vectors.lengths
        largest.append(cosines[:, : len(prompt_set.positives)].max(axis=1))
    names = list(prompt_set.names)
    return Scores(names, np.array(shares, np.float64).reshape(-1, len(names)), np.concatenate([np.empty(0), *largest]))
