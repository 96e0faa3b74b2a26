from classifier.api.handler import Handler
from tests.golden.answers import answer, is_same, records


def test_recorded_requests_are_answered_as_recorded(handler: Handler) -> None:
    """Status, headers, codes, fields and the form of the answer exactly; numbers within a
    tolerance; messages are not compared.
    """
    differences = []
    for event, expected in records():
        actual = answer(handler, event)
        if not is_same(expected, actual):
            differences.append(
                f"{str(event)[:300]}\n  was {str(expected)[:300]}\n  is  {str(actual)[:300]}"
            )
    remedy = "If this is on purpose, run `make golden-answers` and commit its result."
    assert not differences, "\n".join(
        [f"{len(differences)} answers differ.", *differences[:10], remedy]
    )
