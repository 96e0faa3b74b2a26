"""A model behind an endpoint: it embeds each image once, and each wording's texts.

It speaks to the endpoint as the examples do, with their client.
"""

import base64
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.file import ClassifierFile
from classifier.contract.request.fields import SLOT, Fit
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.registry import Registry
from classifier.engine.tokenized import NewPrompt, Prompt, Templates
from classifier.model.scoring import mean
from tools.evaluate.embeddings import Cache, Outcome
from tools.workers import unlimited

# The examples are scripts: their shared modules lie next to them.
sys.path.append(str(Path(__file__).parents[2] / "examples"))
import classify
import client

# One grey pixel, to ask what the model is.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
# The embeddings of this number of texts fit into an answer, of any model's dimension.
TEXTS = 256


class Endpoint(BundleManifest):
    """The facts that scoring needs of a model behind an endpoint."""

    told: str

    @property
    def fingerprint(self) -> str:
        return self.told


class Deployed:
    """A model behind an endpoint. Every answer is checked to be of the same model."""

    def __init__(self, endpoint: str, api_key: str | None, side: int) -> None:
        """`side`: large images are resized to this many pixels along their short side."""
        self._endpoint = endpoint
        self._session = client.open_session(api_key)
        self._side = side
        self._texts: dict[str, NDArray[np.float32]] = {}
        self.manifest = self._ask_for_model()
        if self.manifest.name == "demo":
            print(client.DEMO_WARNING, file=sys.stderr)

    def embed(self, fit: Fit | None, files: Mapping[str, Path], cache: Cache) -> dict[str, Outcome]:
        """Embeddings stay in the cache, so that an interrupted run goes on where it was."""
        key = json.dumps([self.manifest.fingerprint, "endpoint", fit, self._side])
        outcomes = cache.load(key, files)
        left = {str(path): content for content, path in files.items() if content not in outcomes}
        images = (classify.read(Path(path), self._side) for path in left)
        contents = iter(left.values())
        with tqdm(total=len(files), initial=len(outcomes), unit="image", disable=not left) as bar:
            for batch in classify.batches(images):
                new = dict(
                    zip(islice(contents, len(batch)), self._outcomes(batch, fit), strict=True)
                )
                # An error may be the endpoint's, and gone the next time.
                embedded = {
                    content: found for content, found in new.items() if not isinstance(found, str)
                }
                cache.store(key, embedded)
                outcomes |= new
                bar.update(len(batch))
        return outcomes

    def _outcomes(
        self, batch: Sequence[classify.EncodedImage], fit: Fit | None
    ) -> Iterator[Outcome]:
        images = [image.encoded for image in batch if not image.error]
        fields = {"images": images, "labels": ["a"], "embedding": True, "details": True}
        fields |= {"fit": fit} if fit else {}
        results = client.post(self._session, self._endpoint, fields, "results")[0] if images else []
        answers = iter(results)
        for image in batch:
            answer = {"error": {"message": image.error}} if image.error else next(answers)
            if "error" in answer:
                yield answer["error"]["message"]
                continue
            self._check(answer["model"]["fingerprint"])
            yield np.array(answer["embedding"], np.float32)

    def _ask_for_model(self) -> Endpoint:
        """By one answer, whose details tell how the model makes probabilities of cosines."""
        fields = {"image_data": PIXEL, "labels": ["a"], "embedding": True, "details": True}
        answer, _ = client.ask(self._session, self._endpoint, fields, "model")
        model = answer["model"]
        return Endpoint.model_construct(
            model=model["name"],
            pretrained=model["tag"],
            told=model["fingerprint"],
            logit_scale=model["logit_scale"],
            logit_bias=model.get("logit_bias"),
            scoring="sigmoid" if "logit_bias" in model else "softmax",
            dimension=len(answer["embedding"]),
        )

    def _check(self, fingerprint: str) -> None:
        if fingerprint != self.manifest.fingerprint:
            sys.exit(
                f"{self._endpoint} answers with another model than before ({fingerprint[:12]}, not"
                f" {self.manifest.fingerprint[:12]}): somebody has deployed meanwhile. Run it"
                " again; nothing of the two is mixed."
            )

    def prepare(self, files: Mapping[str, ClassifierFile]) -> Registry:
        """Texts are embedded by the endpoint, each once."""
        found = Registry(files, cast(PromptCache, _Texts(self)), self.manifest, unlimited)
        # /v1/embeddings names no fingerprint.
        self._check(self._ask_for_model().fingerprint)
        return found

    def texts(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        new = list(dict.fromkeys(text for text in texts if text not in self._texts))
        for start in range(0, len(new), TEXTS):
            batch = new[start : start + TEXTS]
            body = {"input": batch, "model": self.manifest.name, "encoding_format": "base64"}
            url = self._endpoint.rstrip("/") + "/v1/embeddings"
            data, _ = client.post(self._session, url, body, "data")
            contents = [base64.b64decode(item["embedding"]) for item in data]
            rows = [np.frombuffer(each, "<f4").astype(np.float32) for each in contents]
            self._texts.update(zip(batch, rows, strict=True))
        return [self._texts[text] for text in texts]


class _Texts:
    """Stands in for the cache of prompts, without token ids: words tell prompts apart."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed
        self._templates = dict[str, Sequence[str]]()

    def lookup(self, text: str, templates: Templates, field: str, subject: str = "") -> Prompt:
        self._templates[templates.key] = templates.sentences
        words = " ".join(text.lower().split())
        return NewPrompt((templates.key, text), text, tuple(map(ord, words)), ())

    def embed(
        self, prompts: Sequence[Prompt], context: RequestContext
    ) -> list[NDArray[np.float32]]:
        filled = [
            [sentence.replace(SLOT, prompt.text) for sentence in self._templates[prompt.key[0]]]
            for prompt in prompts
        ]
        rows = iter(self._deployed.texts([text for texts in filled for text in texts]))
        found = []
        for texts in filled:
            # Sentences that are the same to the model have the same embedding, to the last bit, and
            # count once.
            different = {row.tobytes(): row for row in islice(rows, len(texts))}
            found.append(mean(list(different.values())))
        return found
