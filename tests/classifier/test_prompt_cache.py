from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.context import RequestContext
from classifier.encoders import Encoders
from classifier.errors import ClientError
from classifier.prompt_cache import PromptCache, Templates
from classifier.schema import SLOT
from classifier.tokenizer import Tokenizer
from tests.support.golden import golden_tokens


@pytest.fixture(scope="module")
def tokenizer(encoders: Encoders) -> Tokenizer:
    return Tokenizer(encoders.folder, encoders.manifest.text)


@dataclass
class CountingEncoders:
    """The real encoders, counting the prompts and their lengths."""

    real: Encoders
    lengths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder, self.manifest = self.real.folder, self.real.manifest

    def encode_text(self, prompts: list[list[int]]) -> list[NDArray[np.float32]]:
        self.lengths += map(len, prompts)
        return self.real.encode_text(prompts)


@pytest.fixture
def counting(encoders: Encoders) -> CountingEncoders:
    return CountingEncoders(encoders)


PLAIN = Templates([SLOT])


def embed(prompts: PromptCache, texts: list[str], templates: Templates = PLAIN) -> list[NDArray[np.float32]]:
    return prompts.embed([prompts.lookup(text, templates, "labels") for text in texts], RequestContext(lambda: 29_000))


@pytest.mark.parametrize("text", golden_tokens())
def test_ids_equal_those_of_open_clip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == golden_tokens()[text]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("dog " * 76, "label_too_long", "76 tokens"),
        (" \t&nbsp;\n", "invalid_request", "empty"),
        ("a <END_OF_TEXT> dog", "invalid_request", "<end_of_text>"),
        ("&lt;start_of_text&gt;", "invalid_request", "<start_of_text>"),
    ],
)
def test_texts_that_the_model_cannot_read_are_refused(tokenizer: Tokenizer, text: str, code: str, said: str) -> None:
    with pytest.raises(ClientError, match=said) as caught:
        tokenizer.encode(text, "labels.7")
    assert (caught.value.status, caught.value.code, caught.value.field) == (400, code, "labels.7")


def test_a_text_that_just_fits_is_read(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("dog " * 75)) == 77


def test_each_prompt_runs_at_its_own_length_and_only_once(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting)  # type: ignore[arg-type]
    embed(prompts, ["a dog", "cat", "a dog"])
    assert sorted(counting.lengths) == [3, 4]
    embed(prompts, ["cat", "a dog", "a bird"])
    assert counting.lengths[2:] == [4]


def test_an_embedding_is_the_same_alone_in_company_and_from_memory(encoders: Encoders) -> None:
    alone = embed(PromptCache(encoders), ["a dog"])[0]
    prompts = PromptCache(encoders)
    company = embed(prompts, ["a cat", "three red stars on a blue background", "a dog"])
    np.testing.assert_array_equal(company[2], alone)
    np.testing.assert_array_equal(embed(prompts, ["a dog"])[0], alone)


def test_the_longest_unused_prompt_is_forgotten_first(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting, max_prompts=2)  # type: ignore[arg-type]
    for text in ("one", "two", "one", "three"):
        embed(prompts, [text])
    counting.lengths.clear()
    embed(prompts, ["one", "three"])
    assert counting.lengths == []
    embed(prompts, ["two"])
    assert counting.lengths == [3]


def test_memory_is_bounded_in_bytes(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting, max_bytes=4_000)  # type: ignore[arg-type]
    embed(prompts, ["one", "two", "three", "four", "five"])
    counting.lengths.clear()
    embed(prompts, ["five"])
    assert counting.lengths == []
    embed(prompts, ["one"])
    assert counting.lengths == [3]


def test_out_of_time_is_told_and_what_is_finished_is_kept(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting)  # type: ignore[arg-type]
    texts, left = [f"label {i}" for i in range(40)], iter([29_000, 0])
    with pytest.raises(ClientError) as caught:
        prompts.embed([prompts.lookup(text, PLAIN, "labels") for text in texts], RequestContext(lambda: next(left)))
    assert (caught.value.status, caught.value.code) == (503, "out_of_time")
    embed(prompts, texts)
    assert len(counting.lengths) == 40


def test_the_time_kept_back_follows_the_longest_round() -> None:
    left = iter([29_000, 28_900, 20_000, 12_000, 9_400])
    context = RequestContext(lambda: next(left))
    for _ in range(4):
        context.check_deadline("")
    # Another round may take 8.9 s as the longest did, and the answer half a second.
    with pytest.raises(ClientError) as caught:
        context.check_deadline("")
    assert caught.value.status == 503


def test_a_label_in_templates_is_the_normalised_mean_and_is_saved_as_one(counting: CountingEncoders) -> None:
    prompts, templates = PromptCache(counting), Templates(["{}", "a photo of {}", "{} on grass"])  # type: ignore[arg-type]
    singles = embed(PromptCache(counting.real), ["dog", "a photo of dog", "dog on grass"])
    total = np.sum([single.astype(np.float64) for single in singles], axis=0)
    np.testing.assert_allclose(embed(prompts, ["dog"], templates)[0], total / np.linalg.norm(total), atol=1e-7)
    assert len(counting.lengths) == 3
    embed(prompts, ["dog"], Templates(list(templates.sentences)))
    assert len(counting.lengths) == 3
    embed(prompts, ["dog"])
    assert len(counting.lengths) == 4


def test_a_prompt_that_stands_in_several_labels_is_encoded_once(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting)  # type: ignore[arg-type]
    one, two = embed(prompts, ["a photo of a dog", "a dog"], Templates(["{}", "a photo of {}"]))
    assert len(counting.lengths) == 3
    assert not np.array_equal(one, two)


def test_templates_that_say_the_same_change_nothing(encoders: Encoders) -> None:
    plain = embed(PromptCache(encoders), ["dog"])[0]
    np.testing.assert_array_equal(embed(PromptCache(encoders), ["dog"], Templates(["{}", " {}", "{}\n"]))[0], plain)


def test_a_template_too_long_for_the_context_is_refused_with_its_token_count(encoders: Encoders) -> None:
    with pytest.raises(ClientError, match="The label in a template has 77 tokens"):
        PromptCache(encoders).lookup("dog " * 70, Templates(["{} " + "cat " * 7]), "labels.0")
