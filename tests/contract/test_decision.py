import pytest

from classifier.contract.classifiers.decision import decide, without_threshold
from classifier.contract.classifiers.file import parse_classifier

ACTIONS = ["review", "block"]
PROBABILITIES = {"neutral": 0.1, "sport": 0.2, "explicit": 0.3, "violence": 0.4}


def test_each_name_comes_with_the_strictest_threshold_that_it_reached_and_the_best_name_first() -> (
    None
):
    thresholds = {
        "sport": {"review": 0.2},
        "explicit": {"review": 0.1, "block": 0.3},
        "violence": {"block": 0.5},
    }
    assert decide(PROBABILITIES, thresholds, ACTIONS) == {
        "labels": [
            {"name": "explicit", "probability": 0.3, "threshold": 0.3, "action": "block"},
            {"name": "sport", "probability": 0.2, "threshold": 0.2, "action": "review"},
        ],
        "action": "block",
    }


def test_without_actions_names_count_and_nothing_is_to_be_done() -> None:
    decision = decide(PROBABILITIES, {"violence": 0.4, "neutral": 0.2})
    assert decision == {
        "labels": [{"name": "violence", "probability": 0.4, "threshold": 0.4, "action": None}],
        "action": None,
    }


@pytest.mark.parametrize(("largest", "names"), [(0.19, []), (0.2, ["violence"])])
def test_an_image_unlike_every_prompt_is_none_of_these(largest: float, names: list[str]) -> None:
    decision = decide(PROBABILITIES, {"violence": {"review": 0.1}}, ACTIONS, largest, 0.2)
    assert [entry["name"] for entry in decision["labels"]] == names
    assert decision["action"] == ("review" if names else None)


@pytest.mark.parametrize(
    ("thresholds", "names"),
    [(None, []), ({"b": 0.5}, ["a", "c"]), ({"a": 0.1, "b": 0.2, "c": 0.3}, [])],
)
def test_a_label_without_a_threshold_is_never_named_if_others_have_one(
    thresholds: dict[str, float] | None, names: list[str]
) -> None:
    question = {"labels": ["a", "b", "c"]} | ({"thresholds": thresholds} if thresholds else {})
    assert without_threshold(parse_classifier(question)) == names
