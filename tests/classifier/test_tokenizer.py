import pytest

from classifier.encoders import Encoders
from classifier.errors import ClientError
from classifier.tokenizer import Tokenizer
from tests.support.golden import golden_tokens


@pytest.fixture(scope="module")
def tokenizer(encoders: Encoders) -> Tokenizer:
    return Tokenizer(encoders.folder, encoders.manifest.text)


@pytest.mark.parametrize("text", golden_tokens())
def test_token_ids_equal_those_of_open_clip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == golden_tokens()[text]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("dog " * 76, "label_too_long", "76 tokens"),
        (" \t&nbsp;\n", "invalid_request", "empty"),
        ("a <END_OF_TEXT> dog", "invalid_request", "<end_of_text>"),
        ("&lt;start_of_text&gt;", "invalid_request", "<start_of_text>"),
    ],
)
def test_a_text_that_the_model_cannot_read_is_refused(tokenizer: Tokenizer, text: str, code: str, message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        tokenizer.encode(text, "labels.7")
    assert (caught.value.status, caught.value.code, caught.value.field) == (400, code, "labels.7")


def test_a_text_that_just_fits_the_context_is_encoded(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("dog " * 75)) == 77
