"""Checks the prompts of classifiers as those of a request are checked, and encodes nothing. Without
numpy, so that deploying can check them.
"""

from collections.abc import Mapping
from pathlib import Path

from classifier.contract.bundle import BundleManifest
from classifier.contract.classifiers.file import ClassifierError, ClassifierFile
from classifier.contract.errors import ApiError
from classifier.contract.request.query import Query, Question
from classifier.engine.context import RequestContext
from classifier.engine.prompts import PromptSet, make_prompt_set
from classifier.engine.tokenized import Prompts, PromptTokenizer
from classifier.model.tokenizer import Tokenizer


def check_prompts(
    files: Mapping[str, ClassifierFile], folder: Path, manifest: BundleManifest
) -> None:
    """Raises ClassifierError for prompts that a request would be refused for, by the bundle's
    tokenizer.
    """
    prompts = PromptTokenizer(Tokenizer(folder, manifest.text))
    for name, file in files.items():
        prompt_set_of(name, Question.of(file), prompts, manifest)


def prompt_set_of(
    name: str, question: Question, prompts: Prompts, manifest: BundleManifest
) -> PromptSet:
    """Raises ClassifierError."""
    try:
        # Looking up takes milliseconds; only encoding has a deadline.
        context = RequestContext(lambda: 60_000)
        return make_prompt_set(Query(question), prompts, manifest, context)
    except ApiError as err:
        raise ClassifierError(f"classifiers/{name}.json: {err.message}") from err
