"""What the document's formats and words mean to schemathesis, which draws the requests."""

import base64
import json
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from classifier.contract.request.media_types import IMAGE_TYPES
from tests.support.images import encoded, soft_image

DIMENSION = json.loads(
    (Path(__file__).parent.parent.parent / "models" / "demo" / "bundle.json").read_text(
        encoding="utf-8"
    )
)["dimension"]
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
IMAGES = st.builds(
    lambda w, h, kind: encoded(soft_image(w, h), kind),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(KINDS),
)
FILE = base64.b64encode(encoded(soft_image(9, 7), "PNG")).decode()
WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)

schemathesis.openapi.format("image", IMAGES.map(lambda data: base64.b64encode(data).decode()))
schemathesis.openapi.format("label", WORDS)
schemathesis.openapi.format(
    "data uri", IMAGES.map(lambda data: f"data:image/jpeg;base64,{base64.b64encode(data).decode()}")
)
schemathesis.openapi.format(
    "template", st.builds("{}{{}}{}".format, WORDS | st.just(""), WORDS | st.just(""))
)
# With a blank, which no label and no template drawn here has: what stands for absence must differ
# from each label, which no schema can say.
schemathesis.openapi.format("negative template", WORDS.map("no {}".format))
for kind in IMAGE_TYPES:
    schemathesis.openapi.media_type(kind, IMAGES)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A query belongs to a body that is an image or a form, needs labels there, and a negative
    template or the best region only with multi_label.
    """
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return
    if case.path == "/v1/moderations":
        case.body["model"] = "drawings"
    elif case.path == "/v1/embeddings":
        case.body["model"] = "demo"
        if case.body.get("dimensions") is not None:
            case.body["dimensions"] = DIMENSION
    elif case.media_type == "application/json":
        case.query = {}
        if isinstance(case.body, dict):
            # The server under test has no bucket, which no schema can say.
            if case.body.pop("image_s3", None):
                case.body["image_data"] = FILE
            if isinstance(case.body.get("categories"), dict):
                # A prompt stands in one category only, which no schema can say.
                categories = enumerate(case.body["categories"].items())
                case.body["categories"] = {
                    name: [f"{i} {prompt}" for prompt in prompts]
                    for i, (name, prompts) in categories
                }
            if isinstance(case.body.get("images"), list):
                case.body["images"] = [
                    FILE if isinstance(file, dict) else file for file in case.body["images"]
                ]
        if isinstance(case.body, dict) and case.body.get("image_embedding") is not None:
            # Of the model's own dimension and of length 1, which no schema can say.
            case.body["image_embedding"] = [1.0] + [0.0] * (DIMENSION - 1)
        if isinstance(case.body, dict) and case.body.get("classifier") is not None:
            case.body["classifier"] = "drawings"
        if isinstance(case.body, dict) and case.body.get("thresholds") is not None:
            # For names that are there, an action each, and of two names at least or with
            # multi_label, which no schema can say.
            names = list(case.body.get("labels") or case.body["categories"])
            action = next(iter(case.body.get("actions") or ()), None)
            case.body["thresholds"] = {names[0]: {action: 0.5} if action else 0.5}
            if len(names) == 1:
                for name in ("thresholds", "actions", "min_similarity"):
                    case.body.pop(name, None)
    elif case.media_type == "multipart/form-data":
        # A text may stand in the form or in the URL, not in both.
        case.query = {}
        _mend_texts(case.body, True, 2)
        files = {"image", "image_data", "file", "images"} & case.body.keys()
        if case.meta is not None and len(files) == 1:
            # A changed body is judged again by its schema, since a file's bytes are no text.
            case.meta.generation.mode = GenerationMode.POSITIVE
    elif case.media_type:
        case.query = case.query or {}
        _mend_texts(case.query, "true", "2")


def _mend_texts(texts: dict[str, Any], true: object, two: object) -> None:
    texts.setdefault("labels", ["a dog"])
    texts.pop("classifier", None)
    if "negative_template" in texts:
        texts["multi_label"] = true
    if "regions_combine" in texts:
        texts |= {"regions": two, "multi_label": true}
    if "regions" in texts and texts.get("fit") == "tiles":
        del texts["fit"]
