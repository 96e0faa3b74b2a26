"""open_clip's own pixels, token ids and embeddings: what a bundle is held against."""

import unicodedata
from collections import Counter
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from PIL import Image

from classifier.contract.bundle import TextSettings
from classifier.contract.errors import ApiError
from classifier.model.tokenizer import MARK, Tokenizer
from export.errors import ExportError
from export.judging.material import strings
from export.judging.verify import Pixels, Reference
from export.progress import progress, say
from export.sources.source import Source

STRINGS = 20_000


def make_reference(source: Source, pictures: list[Image.Image], sentences: list[str]) -> Reference:
    model = source.model
    settings = source.settings
    size = model.visual.image_size
    preprocess = open_clip.image_transform(
        size,
        is_train=False,
        mean=settings["mean"],
        std=settings["std"],
        resize_mode=settings.get("resize_mode"),
        interpolation=settings.get("interpolation"),
    )
    say(f"open_clip encodes {len(pictures)} images and {len(sentences)} sentences")
    with torch.inference_mode():
        images = [
            model.encode_image(preprocess(picture).unsqueeze(0), normalize=True)[0]
            for picture in progress(pictures, "pictures")
        ]
        ids = open_clip.get_tokenizer(source.name)(sentences)
        texts = [
            model.encode_text(batch, normalize=True)
            for batch in progress(ids.split(32), "batches of sentences")
        ]
    return Reference(
        pictures,
        sentences,
        [_before_normalising(preprocess, picture) for picture in pictures],
        torch.stack(images).numpy(),
        torch.cat(texts).numpy(),
        source.logit_scale,
    )


def _before_normalising(preprocess: Any, image: Any) -> Pixels:
    for step in preprocess.transforms[:-2]:
        image = step(image)
    return np.asarray(image)


# Categories of what nobody sees: format characters and those to come, selectors, and a space that
# stood next to one.
UNSEEN = {"Cf", "Cn", "Mn", "Zs"}


def check_tokens(
    mine: Tokenizer, settings: TextSettings, theirs: Any, count: int = STRINGS
) -> dict[str, int]:
    """How many strings of all kinds gave the ids of open_clip's tokenizer, at least `count`, and
    how many were rightly refused. Raises ExportError.
    """
    clean_as_theirs = theirs.clean_fn
    # Each text is cleaned once, which takes longer than all else, and twice may change it twice.
    theirs.clean_fn = str
    equal = 0
    refused = 0
    for text in strings():
        if equal >= count:
            break
        clean = mine.clean(text)
        cleaned = clean_as_theirs(text)
        removed = Counter(cleaned) - Counter(clean)
        if not {unicodedata.category(character) for character in removed} <= UNSEEN:
            raise ExportError(f"The text {text!r} is cleaned to another text than open_clip's.")
        # What nobody sees is removed on purpose, so open_clip gets the text without it.
        given = clean if removed else cleaned
        try:
            ids = mine.encode(text)
            pads = [settings.pad_id] * (settings.context_length - len(ids))
            agrees = ids + pads == theirs(given)[0].tolist()
            equal += agrees
        except ApiError:
            spelled = any(token in clean for token in settings.special_tokens)
            agrees = spelled or not _readable(given, settings, theirs)
            refused += agrees
        if not agrees:
            raise ExportError(f"The text {text!r} gets other token ids than open_clip's.")
    return {"strings_with_equal_ids": equal, "strings_rightly_refused": refused}


def _readable(text: str, settings: TextSettings, theirs: Any) -> bool:
    """Whether open_clip's tokenizer makes ids of a text that fit, not all of which stand for
    unknown characters.
    """
    around = len(settings.start_ids) + len(settings.end_ids)
    if not isinstance(theirs, HFTokenizer):
        ids = theirs.encode(text)
        unread = set[int | None]()
    else:
        ids = theirs.tokenizer(text).input_ids
        ids = ids[len(settings.start_ids) : len(ids) - len(settings.end_ids)]
        unread = {settings.unknown_id, theirs.tokenizer.convert_tokens_to_ids(MARK)}
    return len(ids) + around <= settings.context_length and not unread.issuperset(ids)
