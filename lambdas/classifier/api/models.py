"""OpenAI's list of models, which many tools ask for first: the bundle's and the classifiers.

https://platform.openai.com/docs/api-reference/models
"""

from typing import Literal
from urllib.parse import unquote

from classifier.api.openai import OpenAI
from classifier.contract.bundle import BundleManifest
from classifier.contract.errors import ApiError
from classifier.contract.request.fields import ApiModel
from classifier.contract.request.unknown import unknown_name
from classifier.contract.strict_json import JsonObject
from classifier.engine.registry import Registry


class ModelInfo(ApiModel):
    """A name for `model` in a request: the bundle's for embeddings, a classifier's for moderations.
    `created` is always 0: no bundle and no classifier says when it was made. `languages`, which
    OpenAI's form lacks: of labels, null if the model's authors don't say.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["bundle", "classifiers"]
    languages: list[str] | None


class Models(ApiModel):
    object: Literal["list"]
    data: list[ModelInfo]


class OpenAIModels(OpenAI):
    def __init__(self, manifest: BundleManifest, registry: Registry) -> None:
        bundle = manifest.name
        owners = dict.fromkeys((bundle, *registry.names), "classifiers") | {bundle: "bundle"}
        self._by_id: dict[str, JsonObject] = {
            name: {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": owner,
                "languages": manifest.languages,
            }
            for name, owner in owners.items()
        }

    def list(self) -> JsonObject:
        return {"object": "list", "data": [*self._by_id.values()]}

    def find(self, path: str) -> JsonObject:
        """The model of the path `/v1/models/{id}`, whose id may be encoded. Raises ApiError."""
        name = unquote(path.split("/", 3)[3])
        if name not in self._by_id:
            message = f"The path has {unknown_name(name, list(self._by_id), 'model')}"
            raise ApiError(404, "not_found", message, "model")
        return self._by_id[name]
