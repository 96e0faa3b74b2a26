import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.contract.errors import ApiError
from classifier.contract.request.fields import SLOT
from classifier.engine.context import RequestContext
from classifier.engine.prompt_cache import PromptCache
from classifier.engine.tokenized import Templates
from classifier.model.encoders import Encoders
from tests.support.encoders import CountingEncoders


@pytest.fixture
def counting(encoders: Encoders) -> CountingEncoders:
    return CountingEncoders(encoders)


PLAIN = Templates([SLOT])


def embed(
    prompts: PromptCache, texts: list[str], templates: Templates = PLAIN
) -> list[NDArray[np.float32]]:
    return prompts.embed(
        [prompts.lookup(text, templates, "labels") for text in texts],
        RequestContext(lambda: 29_000),
    )


def test_each_prompt_runs_at_its_own_length_and_only_once(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting)
    embed(prompts, ["a dog", "cat", "a dog"])
    assert sorted(counting.lengths) == [3, 4]
    embed(prompts, ["cat", "a dog", "a bird"])
    assert counting.lengths[2:] == [4]


def test_an_embedding_is_the_same_alone_in_a_batch_and_from_the_cache(encoders: Encoders) -> None:
    alone = embed(PromptCache(encoders), ["a dog"])[0]
    prompts = PromptCache(encoders)
    batch = embed(prompts, ["a cat", "three red stars on a blue background", "a dog"])
    np.testing.assert_array_equal(batch[2], alone)
    np.testing.assert_array_equal(embed(prompts, ["a dog"])[0], alone)


def test_the_least_recently_used_prompt_is_forgotten_first(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting, max_prompts=2)
    for text in ("one", "two", "one", "three"):
        embed(prompts, [text])
    counting.lengths.clear()
    embed(prompts, ["one", "three"])
    assert counting.lengths == []
    embed(prompts, ["two"])
    assert counting.lengths == [3]


@pytest.mark.parametrize("templates", [["{}"], ["{}", "a photo of {}"]])
def test_a_cached_embedding_does_not_keep_its_whole_batch_in_memory(
    encoders: Encoders, templates: list[str]
) -> None:
    for embedding in embed(
        PromptCache(encoders), ["dog", "cat", "bird", "fish"], Templates(templates)
    ):
        assert embedding.base is None


def test_memory_is_bounded_in_bytes(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting, max_bytes=4_000)
    embed(prompts, ["one", "two", "three", "four", "five"])
    counting.lengths.clear()
    embed(prompts, ["five"])
    assert counting.lengths == []
    embed(prompts, ["one"])
    assert counting.lengths == [3]


def test_running_out_of_time_is_an_error_and_finished_prompts_stay_cached(
    counting: CountingEncoders,
) -> None:
    prompts = PromptCache(counting)
    texts = [f"label {i}" for i in range(80)]
    left = iter([29_000, 0])
    with pytest.raises(ApiError) as caught:
        prompts.embed(
            [prompts.lookup(text, PLAIN, "labels") for text in texts],
            RequestContext(lambda: next(left)),
        )
    assert (caught.value.status, caught.value.code) == (503, "out_of_time")
    embed(prompts, texts)
    assert len(counting.lengths) == 80


def test_a_label_in_templates_is_cached_once_as_the_normalised_mean(
    counting: CountingEncoders,
) -> None:
    prompts = PromptCache(counting)
    templates = Templates(["{}", "a photo of {}", "{} on grass"])
    singles = embed(PromptCache(counting.real), ["dog", "a photo of dog", "dog on grass"])
    total = np.sum([single.astype(np.float64) for single in singles], axis=0)
    np.testing.assert_allclose(
        embed(prompts, ["dog"], templates)[0], total / np.linalg.norm(total), atol=1e-7
    )
    assert len(counting.lengths) == 3
    embed(prompts, ["dog"], Templates(list(templates.sentences)))
    assert len(counting.lengths) == 3
    embed(prompts, ["dog"])
    assert len(counting.lengths) == 4


def test_a_prompt_shared_by_several_labels_is_encoded_once(counting: CountingEncoders) -> None:
    prompts = PromptCache(counting)
    first, second = embed(
        prompts, ["a photo of a dog", "a dog"], Templates(["{}", "a photo of {}"])
    )
    assert len(counting.lengths) == 3
    assert not np.array_equal(first, second)


def test_templates_that_are_the_same_to_the_model_change_nothing(encoders: Encoders) -> None:
    plain = embed(PromptCache(encoders), ["dog"])[0]
    np.testing.assert_array_equal(
        embed(PromptCache(encoders), ["dog"], Templates(["{}", " {}", "{}\n"]))[0], plain
    )


def test_a_template_too_long_for_the_context_is_refused_with_its_token_count(
    encoders: Encoders,
) -> None:
    with pytest.raises(ApiError, match="The label in a template has 77 tokens"):
        PromptCache(encoders).lookup("dog " * 70, Templates(["{} " + "cat " * 7]), "labels.0")
