"""OpenAI's official clients, for Python and for JavaScript, on the API."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from classifier.api.handler import Handler
from tests.support.requests import ROOT, ask, base64_of, event
from tools.local.gateway import Limits
from tools.local.serve import running

HERE = Path(__file__).parent
DOG = ROOT / "examples" / "images" / "dog.jpg"
IMAGE = f"data:image/jpeg;base64,{base64_of(DOG.read_bytes())}"
KEY = "a key of the deployment"


def image_url(url: str) -> list[Any]:
    return [{"type": "image_url", "image_url": {"url": url}}]


@pytest.fixture
def url(deployed: Handler) -> Iterator[str]:
    with running(deployed, Limits(api_key=KEY)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{url}v1", api_key="unused", default_headers={"x-api-key": KEY}, max_retries=0
    ) as client:
        yield client


def test_a_moderation_is_the_decision_of_the_classifier_that_it_names(
    client: openai.OpenAI, deployed: Handler
) -> None:
    answer = client.moderations.create(model="drawings", input=image_url(IMAGE))
    [result] = answer.results
    own = ask(
        deployed, event({"image_data": base64_of(DOG.read_bytes()), "classifier": "drawings"})
    )[1]
    dumped = result.model_dump()
    counted = {entry["name"] for entry in own["decision"]["labels"]}
    assert counted == {"a dog"} and result.flagged
    assert {name for name in own["result"] if dumped["categories"][name]} == counted
    assert {name: dumped["category_scores"][name] for name in own["result"]} == own["result"]
    assert all(dumped["category_applied_input_types"][name] == ["image"] for name in own["result"])
    assert answer.model == "drawings" and answer.id.startswith("modr-")


def test_embeddings_are_those_that_answers_are_made_of(
    client: openai.OpenAI, deployed: Handler
) -> None:
    usual = client.embeddings.create(model="demo", input=["a dog", IMAGE, "a dog"])
    plain = client.embeddings.create(
        model="demo", input=["a dog", IMAGE, "a dog"], encoding_format="float"
    )
    assert [entry.index for entry in usual.data] == [0, 1, 2]
    vectors = [np.array(entry.embedding, np.float32) for entry in usual.data]
    assert all(
        np.array_equal(one, np.array(other.embedding, np.float32))
        for one, other in zip(vectors, plain.data, strict=True)
    )
    own = ask(
        deployed,
        event(
            {
                "image_data": base64_of(DOG.read_bytes()),
                "labels": ["a dog"],
                "embedding": True,
                "details": True,
            }
        ),
    )[1]
    assert np.array_equal(vectors[1], np.array(own["embedding"], np.float32))
    assert float(vectors[0].astype(float) @ vectors[1].astype(float)) == pytest.approx(
        own["similarities"]["a dog"], abs=1e-6
    )
    assert np.array_equal(vectors[0], vectors[2])
    assert (usual.usage.prompt_tokens, usual.usage.total_tokens, usual.model) == (4, 4, "demo")


@pytest.mark.parametrize(
    ("call", "param", "words"),
    [
        (
            lambda client: client.moderations.create(model="drawings", input="some text"),
            "input",
            "only images are judged",
        ),
        (
            lambda client: client.moderations.create(
                model="drawings", input=image_url("https://example.org/a.jpg")
            ),
            "input",
            "address",
        ),
        (
            lambda client: client.moderations.create(model="drawings", input=image_url(IMAGE) * 2),
            "input",
            "one image a request",
        ),
        (
            lambda client: client.moderations.create(model="drawing", input=image_url(IMAGE)),
            "model",
            'Did you mean "drawings"',
        ),
        (
            lambda client: client.moderations.create(model="moderation", input=image_url(IMAGE)),
            "model",
            "has no thresholds",
        ),
        (lambda client: client.moderations.create(input=image_url(IMAGE)), "model", "is missing"),
        (
            lambda client: client.embeddings.create(model="text-embedding-3-small", input="a dog"),
            "model",
            'send "demo"',
        ),
        (
            lambda client: client.embeddings.create(model="demo", input=[[1, 2, 3]]),
            "input",
            "check_embedding_ctx_length=False",
        ),
        (
            lambda client: client.embeddings.create(model="demo", input="a dog", dimensions=64),
            "dimensions",
            "192",
        ),
        (
            lambda client: client.embeddings.create(model="demo", input=["a dog", " "]),
            "input.1",
            "is empty",
        ),
        (
            lambda client: client.embeddings.create(model="demo", input="a dog " * 60),
            "input.0",
            "120 tokens",
        ),
        (
            lambda client: client.embeddings.create(
                model="demo", input="data:image/png;base64,AAAA"
            ),
            "input.0",
            "none of JPEG",
        ),
    ],
)
def test_an_error_reaches_the_caller_of_the_client_for_python(
    client: openai.OpenAI, call: Any, param: str, words: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        call(client)
    problem = refused.value.body
    assert (
        isinstance(problem, dict) and problem["type"] == "invalid_request_error" and problem["code"]
    )
    assert (problem["param"], words in str(refused.value)) == (param, True), refused.value


def test_the_client_for_javascript_gets_the_same_and_shows_errors(
    url: str, client: openai.OpenAI
) -> None:
    assert (HERE / "node_modules").exists(), (
        "the client is missing; install it with: make test-clients"
    )
    command = ["node", str(HERE / "openai.mjs"), url, KEY, str(DOG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    expected = (
        client.moderations.create(model="drawings", input=image_url(IMAGE))
        .results[0]
        .category_scores.model_dump()
    )
    assert answers["moderation"]["results"][0]["category_scores"]["a dog"] == expected["a dog"]
    assert answers["moderation"]["results"][0]["flagged"] is True
    own = client.embeddings.create(model="demo", input=["a dog", IMAGE])
    for one, other in zip(answers["embeddings"]["data"], own.data, strict=True):
        assert one["embedding"] == pytest.approx(other.embedding, abs=1e-6)
    assert [
        words in message
        for words, message in zip(
            ("nothing", "only images", "demo"), answers["errors"], strict=True
        )
    ] == [True] * 3


def test_a_wrong_key_is_refused_with_api_gateways_own_answer(url: str) -> None:
    with (
        openai.OpenAI(
            base_url=f"{url}v1",
            api_key="unused",
            default_headers={"x-api-key": "wrong"},
            max_retries=0,
        ) as client,
        pytest.raises(openai.PermissionDeniedError, match="The API key is missing or wrong"),
    ):
        client.embeddings.create(model="demo", input="a dog")


def test_base64_is_of_little_endian_float32(deployed: Handler) -> None:
    bodies = [
        {"model": "demo", "input": "a dog", "encoding_format": form} for form in ("base64", "float")
    ]
    one, other = (
        ask(deployed, event(body, resource="/v1/embeddings"))[1]["data"][0]["embedding"]
        for body in bodies
    )
    assert np.array_equal(np.frombuffer(base64.b64decode(one), "<f4"), np.array(other, np.float32))
