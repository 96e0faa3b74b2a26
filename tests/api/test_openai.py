"""OpenAI's form of requests and answers."""

from classifier.api.handler import Handler
from classifier.contract.classifiers.file import parse_classifier
from classifier.model.encoders import Encoders
from tests.support.classifiers import IMAGE, MANIFEST, WORDS
from tests.support.encoders import CountingEncoders
from tests.support.requests import (
    SMALL,
    ask,
    base64_of,
    event,
)


def test_the_models_are_the_bundle_and_the_classifiers(deployed: Handler) -> None:
    status, answer, _ = ask(deployed, event(None, "GET", "/v1/models"))
    names = [model["id"] for model in answer["data"]]
    assert (status, names[0], answer["object"]) == (200, "demo", "list")
    assert "drawings" in names
    for model in answer["data"]:
        # As API Gateway says it, and as everything else does.
        for resource, more in (
            ("/v1/models/{id}", {"pathParameters": {"id": model["id"]}}),
            (f"/v1/models/{model['id']}", {}),
        ):
            assert ask(deployed, event(None, "GET", resource, **more))[:2] == (200, model)
    status, answer, _ = ask(deployed, event(None, "GET", "/v1/models/drawing"))
    assert (status, answer["error"]["param"]) == (404, "model")
    assert 'Did you mean "drawings"?' in answer["error"]["message"]


def test_a_model_s_name_with_a_slash_is_found_encoded_or_not(encoders: Encoders) -> None:
    """Clients encode it. REST APIs hand on what was sent, HTTP APIs decode it."""
    tagged = CountingEncoders(
        encoders, model="ViT-B-32", pretrained="openai", languages=["de", "en"]
    )
    handler = Handler(tagged)  # type: ignore[arg-type]
    for name in ("ViT-B-32/openai", "ViT-B-32%2Fopenai", "ViT-B-32%2fopenai"):
        for resource, more in (
            ("/v1/models/{id}", {"pathParameters": {"id": name}}),
            (f"/v1/models/{name}", {}),
        ):
            status, answer, _ = ask(handler, event(None, "GET", resource, **more))
            assert (status, answer["id"]) == (200, "ViT-B-32/openai")
            assert answer["languages"] == ["de", "en"]


def test_null_next_to_a_moderations_image_counts_as_left_out(deployed: Handler) -> None:
    url = {"url": f"data:image/png;base64,{base64_of(SMALL)}", "detail": None}
    item = {"type": "image_url", "image_url": url, "text": None}
    body = {"model": "drawings", "input": [item], "user": None}
    status, answer, _ = ask(deployed, event(body, resource="/v1/moderations"))
    assert status == 400 and answer["error"]["param"] == "user"
    del body["user"]
    assert ask(deployed, event(body, resource="/v1/moderations"))[0] == 200
    null = {"model": "demo", "input": "a", "dimensions": None, "user": None}
    assert ask(deployed, event(null, resource="/v1/embeddings"))[0] == 200


def test_a_moderation_that_can_flag_nothing_is_refused_before_its_image_is_read(
    encoders: Encoders,
) -> None:
    counting = CountingEncoders(encoders)
    handler = Handler(counting, classifiers={"pets": parse_classifier({"labels": WORDS})})  # type: ignore[arg-type]
    body = {
        "model": "pets",
        "input": [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{IMAGE}"}}],
    }
    status, answer, _ = ask(handler, event(body, resource="/v1/moderations"))
    assert (status, answer["error"]["param"], counting.images) == (400, "model", [])
    assert "has no thresholds" in answer["error"]["message"]


def test_images_to_embed_share_a_run(encoders: Encoders) -> None:
    counting = CountingEncoders(encoders, image=MANIFEST.image.model_copy(update={"max_batch": 2}))
    body = {
        "model": "demo",
        "input": [f"data:image/jpeg;base64,{IMAGE}"] * 3,
        "encoding_format": "float",
    }
    answer = ask(Handler(counting), event(body, resource="/v1/embeddings"))[1]  # type: ignore[arg-type]
    assert counting.images == [2, 1]
    own = ask(
        Handler(encoders),
        event({"image_data": IMAGE, "labels": ["a dog", "a cat"], "embedding": True}),
    )[1]["embedding"]
    assert [entry["embedding"] for entry in answer["data"]] == [own] * 3
