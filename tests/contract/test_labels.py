"""Labels that are not what was meant."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import pytest

from classifier.api.hugging_face import HUGGING_FACE
from classifier.contract.classifiers.file import parse_classifier
from classifier.contract.request.parsing import parse_json
from classifier.contract.request.url_parameters import parse_query
from classifier.contract.strict_json import JsonObject
from tests.support.requests import outcome

OWN = {"image_data": "AAAA", "labels": ["a dog", "a cat"]}


def in_task(parameters: JsonObject) -> object:
    return HUGGING_FACE.read({"inputs": "AAAA", "parameters": parameters}, {})


def in_query(query: Mapping[str, Sequence[str]]) -> object:
    return parse_query(query, b"")


SEPARATORS: dict[str, Sequence[str]] = {
    "commas": ",，、،",
    "semicolons": ";；؛",
    "bars": "|｜",
    "tabs": ("\t", "\\t"),
    "parameters of a URL": ("&labels=",),
    "line breaks": (*"\n\r\v\f\x85\u2028\u2029", "\\n", "\\r\\n"),
}


@pytest.mark.parametrize("kind", SEPARATORS)
def test_labels_joined_to_one_are_refused_in_every_form(kind: str) -> None:
    for separator in SEPARATORS[kind]:
        for joined in (f"a dog{separator}a cat", f"a dog {separator} a cat{separator}"):
            for error in (
                outcome(parse_json, OWN | {"labels": [joined]}),
                outcome(parse_classifier, {"labels": [joined]}),
                outcome(in_task, {"candidate_labels": [joined]}),
                outcome(in_query, {"labels": [joined]}),
            ):
                assert error[:2] == (400, "invalid_request")
                assert error[2] in ("labels", "parameters.candidate_labels")
                assert f"holds {kind}. One label alone always gets 1.0" in error[3]
            pair = OWN | {"labels": [joined, "a cat"]}
            assert parse_json(pair).question.labels == [joined, "a cat"]
            one = OWN | {"labels": [joined], "multi_label": True}
            assert parse_json(one).question.labels == [joined]


@pytest.mark.parametrize(
    "text",
    [
        *("a dog", "café", "狗", "कुत्ता", "rock'n'roll", "black & white", "a; b", "x\ny", "😀 {}"),
        *("a|b", "[x]"),
    ],
)
@pytest.mark.parametrize(
    "place", ["labels", "categories", "name", "templates", "negative", "hugging_face", "query"]
)
def test_a_text_encoded_for_a_url_is_refused_and_shown_decoded(text: str, place: str) -> None:
    encoded = quote(text, safe="{}")
    if encoded == text:
        return
    template = encoded if "{}" in encoded else encoded + "{}"
    error = {
        "labels": lambda: outcome(parse_json, OWN | {"labels": ["a cat", encoded]}),
        "categories": lambda: outcome(
            parse_json, {"image_data": "AAAA", "categories": {"a": [encoded]}}
        ),
        "name": lambda: outcome(parse_json, {"image_data": "AAAA", "categories": {encoded: ["a"]}}),
        "templates": lambda: outcome(parse_json, OWN | {"templates": [template]}),
        "negative": lambda: outcome(
            parse_json, OWN | {"multi_label": True, "negative_template": encoded}
        ),
        "hugging_face": lambda: outcome(in_task, {"candidate_labels": f"a cat, {encoded}"}),
        "query": lambda: outcome(in_query, {"labels": ["a cat", encoded]}),
    }[place]()
    assert error[:2] == (400, "invalid_request")
    shown = text.replace("\n", "\\n")
    assert f'send it decoded, "{shown}' in error[3]


def test_a_template_whose_braces_are_encoded_is_shown_decoded() -> None:
    error = outcome(in_query, {"labels": ["a", "b"], "templates": [quote("a photo of {}")]})
    assert 'send it decoded, "a photo of {}"' in error[3]


@pytest.mark.parametrize(
    "text", ["a+dog", "food+drink", "a+very+good+dog", "कुत्ता+बिल्ली", "café+bar"]
)
def test_a_plus_between_letters_of_a_query_is_an_encoded_space(text: str) -> None:
    error = outcome(in_query, {"labels": ["a cat", text]})
    decoded = text.replace("+", " ")
    assert error[:3] == (400, "invalid_request", "labels.1")
    assert f'send it decoded, "{decoded}"' in error[3]
    assert parse_json(OWN | {"labels": ["a cat", text]}).question.labels == ["a cat", text]


@pytest.mark.parametrize(
    "text",
    [
        "C++",
        "18+",
        "18+ only",
        "+1",
        "a+",
        "salt + pepper",
        "a dog+cat",
        "100% cotton",
        "50%",
        "100%acrylic",
        "50%fat",
        "100%baumwolle",
        "5 % off",
        "%",
        "3+4",
        "x+1",
    ],
)
def test_a_plus_or_a_percent_sign_that_means_itself_passes(text: str) -> None:
    labels = [text, "a cat"]
    assert parse_json(OWN | {"labels": labels}).question.labels == labels
    assert parse_query({"labels": labels}, b"").question.labels == labels
