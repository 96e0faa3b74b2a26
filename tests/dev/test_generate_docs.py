import copy
import json
import re
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode

import tests.support.schemathesis_hooks  # noqa: F401 what the document's formats mean
from classifier.api.handler import Handler
from classifier.contract.classifiers.file import ClassifierFile, parse_classifier
from classifier.contract.errors import ApiError
from classifier.contract.request.media_types import IMAGE_TYPES, MULTIPART_TYPE
from dev import generate_docs
from dev.benchmark import charts
from dev.model_chart import LEAST, model_chart
from dev.openapi import document
from dev.schemas import classifier_schema
from dev.tables import tables, with_tables
from export.table.rows import rows
from tests.support.requests import ROOT, ask, event
from tools.local.serve import running

COMMITTED = json.loads((ROOT / generate_docs.DOCUMENT).read_text(encoding="utf-8"))


def nearly(value: Any, within: float = 0.05) -> Any:
    """Probabilities differ a little from machine to machine."""
    if isinstance(value, dict):
        return {key: nearly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [nearly(item) for item in value]
    return pytest.approx(value, abs=within) if isinstance(value, float) else value


def test_the_committed_document_is_current() -> None:
    assert document() == nearly(COMMITTED), "run: make document"


def test_the_tables_of_the_pages_are_current() -> None:
    pages = [
        (ROOT / path).read_text(encoding="utf-8")
        for path in (generate_docs.API, generate_docs.CLASSIFIERS, generate_docs.MODELS)
    ]
    assert list(map(with_tables, pages)) == pages, "run: make document"
    assert [
        name for name, table in tables().items() if not any(table in page for page in pages)
    ] == []


def test_the_chart_of_the_models_is_current(tmp_path: Path) -> None:
    charts.save(model_chart(), tmp_path / "models.svg")
    number = re.compile(r"-?\d+(?:\.\d+)?")
    drawn, committed = (
        path.read_text(encoding="utf-8")
        for path in (tmp_path / "models.svg", ROOT / generate_docs.MODELS_CHART)
    )
    assert number.sub("0", drawn) == number.sub("0", committed), "run: make document"
    both = (list(map(float, number.findall(text))) for text in (drawn, committed))
    assert next(both) == pytest.approx(next(both), abs=0.01), "run: make document"


def test_a_point_of_the_chart_is_a_model_of_the_table() -> None:
    over_time, over_price = model_chart().axes
    drawn = [
        {(x, y) for group in axes.collections for x, y in group.get_offsets()}
        for axes in (over_time, over_price)
    ]
    known = [row for row in rows() if row.image and (row.imagenet or 0) >= LEAST]
    assert drawn[0] == {(row.image, row.imagenet) for row in known}
    assert drawn[1] == {(row.dollars, row.imagenet) for row in known}
    assert "ViT-B-32-quickgelu" in {text.get_text() for text in over_time.texts}


def test_the_schema_of_a_classifiers_file_is_current_and_takes_what_the_program_takes() -> None:
    schema = json.loads((ROOT / generate_docs.CLASSIFIER_SCHEMA).read_text(encoding="utf-8"))
    assert classifier_schema() == schema, "run: make document"
    validator = Draft202012Validator(schema)
    for path in (ROOT / "classifiers").glob("*.json"):
        validator.validate(json.loads(path.read_text(encoding="utf-8")))
    labels = {"labels": ["a dog", "a cat"]}
    changes: list[dict[str, Any]] = [
        {},
        {"labels": None},
        {"labels": []},
        {"categories": {"a": ["b"]}},
        {"labels": None, "categories": {"a": ["b"]}, "combine": None},
        {"multi_label": None, "negative_template": "none"},
        {"head": {"vectors": "", "scale": 1}, "fitted_on": None},
        dict.fromkeys(set(ClassifierFile.model_fields) - {"labels"}),
        {"combine": "max"},
        {"negative_template": "none"},
        {"multi_label": True, "negative_template": "none"},
        {"actions": ["hide"], "thresholds": {"a dog": {"hide": 0.5}}},
        {"actions": ["hide"]},
        {"thresholds": {"a dog": 1.5}},
        {"min_similarity": 0.1},
        {"classifier": "drawings"},
        {"image_data": "AAAA"},
        {"description": ""},
        {"head": {"vectors": "", "scale": 1}},
        {"fitted_on": {"model": "demo", "fingerprint": "0", "question": "0" * 64}},
        {"fitted_on": {"model": "demo", "fingerprint": "0" * 64, "question": "0" * 64}},
    ]
    for more in changes:
        value = labels | more
        try:
            parse_classifier(value)
        except ApiError as err:
            assert not validator.is_valid(value), (more, err.message)
        else:
            assert validator.is_valid(value), more


@pytest.mark.parametrize(("path", "number"), [(generate_docs.README, 1), (generate_docs.API, 14)])
def test_a_documents_commands_print_what_stands_below_them(
    deployed: Handler, path: Path, number: int
) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    shown = generate_docs.COMMAND.findall(text)
    assert len(shown) >= number
    with running(deployed) as url:
        printed = generate_docs.COMMAND.findall(generate_docs.with_answers(text, url))
    for (command, _, expected), (_, _, answer) in zip(shown, printed, strict=True):
        assert rounded(answer) == rounded(expected), command


def test_every_command_of_the_api_page_has_an_answer() -> None:
    page = (ROOT / generate_docs.API).read_text(encoding="utf-8")
    assert page.count("```sh\n") == len(generate_docs.COMMAND.findall(page))


def rounded(text: str) -> Any:
    """JSON, line by line, with its numbers nearly equal; the words of a text, without its numbers
    and the order that they give.
    """
    if text.startswith("{"):
        return [nearly(json.loads(line)) for line in text.splitlines()]
    return sorted(re.findall(r"[A-Za-z/_.-]{2,}", text))


def test_the_document_is_valid_and_is_what_the_handler_gives(handler: Handler) -> None:
    openapi_spec_validator.validate(COMMITTED)
    assert ask(handler, event(None, "GET", "/openapi.json"))[:2] == (200, COMMITTED)
    assert set(COMMITTED["paths"]["/"]["post"]["requestBody"]["content"]) == {
        "application/json",
        *IMAGE_TYPES,
        MULTIPART_TYPE,
    }


def test_every_code_that_the_program_can_give_is_described() -> None:
    descriptions = " ".join(
        response["description"]
        for response in COMMITTED["paths"]["/"]["post"]["responses"].values()
    )
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in Path(ROOT, "lambdas", "classifier").rglob("*.py")
    )
    codes = set(re.findall(r'ApiError\(\s*\d{3},\s*"(\w+)"', sources))
    assert len(codes) > 8
    assert [code for code in codes if f"`{code}`" not in descriptions] == []


@pytest.mark.parametrize(
    "name",
    list(COMMITTED["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["examples"]),
)
def test_the_examples_are_what_they_are_examples_of(deployed: Handler, name: str) -> None:
    post = COMMITTED["paths"]["/"]["post"]
    request, response = (
        part["content"]["application/json"]
        for part in (post["requestBody"], post["responses"]["200"])
    )
    body = request["examples"][name]["value"]
    schemas = {"components": COMMITTED["components"]}
    Draft202012Validator(request["schema"] | schemas).validate(body)
    status, answer, _ = ask(deployed, event(body))
    Draft202012Validator(response["schema"] | schemas).validate(answer)
    assert (status, answer) == (200, nearly(response["examples"][name]["value"]))


def test_forms_that_the_document_allows_are_answered(deployed: Handler) -> None:
    """In a run over all media types, few requests are forms."""
    document = copy.deepcopy(COMMITTED)
    content = document["paths"]["/"]["post"]["requestBody"]["content"]
    document["paths"]["/"]["post"]["requestBody"]["content"] = {
        MULTIPART_TYPE: content[MULTIPART_TYPE]
    }
    operation = schemathesis.openapi.from_dict(document)["/"]["POST"]
    statuses = []

    @given(case=operation.as_strategy(GenerationMode.POSITIVE))
    @settings(
        max_examples=15, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    def send(case: schemathesis.Case[Any]) -> None:
        statuses.append(case.call(base_url=url).status_code)

    with running(deployed) as url:
        send()
    assert set(statuses) == {200}
