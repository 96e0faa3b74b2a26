"""Embeddings to a classifier's probabilities, by the run time's own rules."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.file import ClassifierFile
from classifier.contract.request.fields import Fit
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.registry import Registry
from classifier.engine.result import label_probabilities
from classifier.model.encoders import Encoders
from classifier.model.scoring import Floats
from tools.evaluate.embeddings import Cache, Outcome, embed
from tools.workers import unlimited

# How many images' products with all prompts are in memory at a time.
ROWS = 1024
# The first is slower.
RUNS = 6


class Scores(NamedTuple):
    """`probabilities`: float64 [N, L], in the order of `names`; `largest`: each image's largest
    cosine [N], for min_similarity."""

    names: list[str]
    probabilities: Floats
    largest: Floats


class Source(Protocol):
    """A model: here, or behind an endpoint."""

    @property
    def manifest(self) -> BundleManifest: ...

    def embed(self, fit: Fit | None, files: Mapping[str, Path], cache: Cache) -> dict[str, Outcome]:
        """The embedding of each image, or its error, by the sha256 of its content."""

    def prepare(self, files: Mapping[str, ClassifierFile]) -> Registry:
        """The classifiers with their prompts encoded. Raises ClassifierError."""


class Bundle:
    """A model on this machine."""

    def __init__(self, folder: Path, processes: int) -> None:
        """Raises BundleError."""
        self._folder = folder
        self._processes = processes
        self._encoders = Encoders.load(folder, threads=processes, verify_hashes=True)
        self.manifest = self._encoders.manifest

    def embed(self, fit: Fit | None, files: Mapping[str, Path], cache: Cache) -> dict[str, Outcome]:
        return embed(self._folder, self.manifest, fit, files, cache, self._processes)

    def milliseconds(self) -> float:
        """Of the image encoder for one image, on as many cores as there are processes: the least of
        some runs.
        """
        side = self.manifest.image.size
        square = np.zeros((side, side, 3), np.uint8)
        times = []
        for _ in range(RUNS):
            start = time.perf_counter()
            self._encoders.encode_images([square])
            times.append(time.perf_counter() - start)
        return 1000 * min(times)

    def prepare(self, files: Mapping[str, ClassifierFile]) -> Registry:
        return Registry(files, PromptCache(self._encoders), self.manifest, unlimited)


def score(
    classifiers: Registry, name: str, manifest: BundleManifest, embeddings: NDArray[np.float32]
) -> Scores:
    """The API's answer to each image. `embeddings`: [N, d]."""
    deployed = classifiers.find(name)
    prompts = deployed.prompt_set
    weights = classifiers.vectors(deployed, RequestContext(unlimited))
    shares = list[list[float]]()
    largest = [np.empty(0)]
    for start in range(0, len(embeddings), ROWS):
        products = embeddings[start : start + ROWS].astype(np.float64) @ weights.rows.T
        for row in products:
            logits = weights.scale * row
            shares.append(label_probabilities(logits, prompts.groups, deployed.question, manifest))
        cosines = products if weights.lengths is None else products / weights.lengths
        largest.append(cosines[:, : len(prompts.positives)].max(axis=1))
    names = list(prompts.names)
    found = np.array(shares, np.float64).reshape(-1, len(names))
    return Scores(names, found, np.concatenate(largest))
