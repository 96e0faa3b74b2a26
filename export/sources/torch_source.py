"""Loads weights through torch and open_clip: for models without a traced graph here, and to check
the other way.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import (
    download_pretrained,
    get_pretrained_cfg,
    list_pretrained_tags_by_model,
)

from classifier.contract.bundle import Weights, sha256
from export.errors import ExportError
from export.graphs.trace import trace
from export.judging.checks import (
    check_activation,
    check_memory,
    check_settings,
    named_settings,
    with_right_activation,
)
from export.sources import hub
from export.sources.architecture import TracedTower
from export.sources.open_clip_models import (
    architecture_of,
    describe,
    model_config,
    repository_and_files,
    tokenizer_of,
)
from export.sources.source import Request, Source


def load(request: Request, say: Callable[[str], None]) -> Source:
    """Raises ExportError, for any warning of open_clip too: a wrong activation passes every later
    comparison.
    """
    name = request.model
    path = Path(request.pretrained).expanduser()
    model_config(name)
    settings = dict(get_pretrained_cfg(name, request.pretrained))
    from_file = not settings
    if from_file and not path.is_file():
        tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
        raise ExportError(
            f"{request.pretrained} is neither a file nor a tag of {name}; its tags: {tags}."
        )
    if from_file:
        settings = named_settings(
            name,
            request.trained_with,
            {tag: get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)},
        )
    else:
        name = with_right_activation(name, settings, dict.fromkeys(open_clip.list_models()), say)
    check_activation(name, settings, bool(model_config(name).get("quick_gelu")))
    check_settings(name, settings)
    architecture, shapes = architecture_of(name)
    tokenizer = request.tokenizer(name, tokenizer_of(name), architecture.text.own_length, say)
    check_memory(name, shapes, copies=2)
    if from_file:
        weights = Weights(source=path.name, revision=None, sha256=sha256(path))
        licence = request.licence
    elif settings.get("hf_hub"):
        repository, files = repository_and_files(settings)
        fetched = hub.fetch(
            repository, files, request.revision, request.licence, request.accepted, say
        )
        path = fetched.path
        licence = fetched.licence
        weights = Weights(source=repository, revision=fetched.revision, sha256=fetched.sha256)
    else:
        path = _download(settings)
        licence = request.licence
        weights = Weights(source=settings["url"], revision=None, sha256=sha256(path))
    with _warnings_are_errors(name):
        model = open_clip.create_model(name, pretrained=str(path), weights_only=True).eval()
    architecture = describe(name, model)
    licence = licence or f"unknown: see where {weights.source} came from"
    traced = trace(model.visual) if isinstance(architecture.image, TracedTower) else None
    return Source(
        name, architecture, arrays(model), settings, weights, licence, model, tokenizer, traced
    )


def arrays(model: Any) -> dict[str, Any]:
    """All weights by the names that towers are written from, as views of the model's own."""
    return {
        name.removeprefix("text."): tensor.detach().float().numpy()
        for name, tensor in model.state_dict().items()
    }


def _download(settings: dict[str, Any]) -> Path:
    try:
        return Path(download_pretrained(settings))
    except Exception as err:  # urllib and open_clip raise many kinds
        raise ExportError(
            f"{settings['url']} could not be downloaded: {' '.join(str(err).split())}. {hub.ADVICE}"
        ) from err


@contextmanager
def _warnings_are_errors(name: str) -> Iterator[None]:
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # Positions of another grid are interpolated with no more than an information.
            if record.levelno >= logging.WARNING or record.getMessage().startswith("Resizing"):
                messages.append(record.getMessage())

    listener = Listener()
    root = logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    # A file that is no checkpoint makes torch and safetensors raise nearly everything.
    except Exception as err:
        raise ExportError(
            f"The weights don't fit {name}: {' '.join(str(err).split())[:300]}"
        ) from err
    finally:
        root.removeHandler(listener)
        root.setLevel(level)
    messages += [
        str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)
    ]
    if messages:
        raise ExportError(f"open_clip warns while it loads {name}: {messages[0]}")
