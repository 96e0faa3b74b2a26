"""Checks the encoders that were just written: against open_clip if it is loaded, else with a
forward pass in numpy.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from classifier.contract.bundle import BundleManifest, ImageSettings
from classifier.images.opened_image import open_image
from classifier.model.encoders import Encoders
from classifier.model.tokenizer import Tokenizer
from export.errors import ExportError
from export.judging import forward, verify
from export.progress import progress, say
from export.sources.architecture import TracedTower
from export.sources.source import Source

BATCH = 8
# How many images and texts the slow forward pass in numpy checks.
CHECKED_PICTURES = 4
CHECKED_TEXTS = 8
MIN_COSINE = 0.99999


def with_open_clip(
    encoders: Encoders, source: Source, pictures: list[Image.Image], sentences: list[str]
) -> tuple[verify.Reference, verify.Served, dict[str, float | int | str]]:
    import open_clip

    # Takes seconds to import, and only this way needs it.
    from export.judging.reference import check_tokens, make_reference

    reference = make_reference(source, pictures, sentences)
    say("verifying pixels, tokens and embeddings against open_clip")
    served = verify.Served.make(encoders, reference)
    return (
        reference,
        served,
        {
            "checked_against": f"open_clip {open_clip.__version__}",
            "pictures_with_equal_pixels": verify.check_pixels(encoders, reference),
            **check_tokens(
                encoders.tokenizer, encoders.manifest.text, open_clip.get_tokenizer(source.name)
            ),
            **verify.check_fp32(served, reference),
        },
    )


def with_numpy(
    encoders: Encoders, source: Source, pictures: list[Image.Image], sentences: list[str]
) -> tuple[verify.Reference, verify.Served, dict[str, float | int | str]]:
    """The fp32 encoders against a forward pass in numpy, or a traced image tower against its graph
    as it was traced; they then are the reference for int8.

    That pixels, tokens and graphs of this architecture equal open_clip's was tested with the
    exporter: tests/export/test_without_torch.py and test_traced_towers.py.
    """
    manifest = encoders.manifest
    tokenizer = Tokenizer(encoders.folder, manifest.text)
    say(f"encoding {len(pictures)} images and {len(sentences)} sentences")
    pixels = [_prepared(picture, manifest.image) for picture in pictures]
    ids = [tokenizer.encode(text) for text in sentences]
    batches = [pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)]
    images = [
        row
        for batch in progress(batches, "batches of images")
        for row in encoders.encode_images(batch)
    ]
    texts = encoders.encode_text(ids)
    few = ids[:: max(1, len(ids) // CHECKED_TEXTS)]
    architecture = source.architecture
    mean = source.settings["mean"]
    std = source.settings["std"]
    checked = np.stack(pixels[:CHECKED_PICTURES])
    if isinstance(architecture.image, TracedTower):
        way = "open_clip's graph as it was traced, and for texts a forward pass in numpy"
        say(f"checking the encoders with {way}")
        expected_images = forward.normalised(source.traced().run(checked))
    else:
        way = "a forward pass in numpy"
        say(f"checking the encoders with {way}")
        expected_images = forward.embed_images(architecture, source.arrays, mean, std, checked)
    expected_texts = forward.embed_texts(architecture, source.arrays, few, manifest.text.pad_id)
    got_texts = list(encoders.encode_text(few))
    cosines = {
        "fp32_least_image_cosine": float(
            (np.stack(images[:CHECKED_PICTURES]) * expected_images).sum(1).min()
        ),
        "fp32_least_text_cosine": float((np.stack(got_texts) * expected_texts).sum(1).min()),
    }
    if not min(cosines.values()) >= MIN_COSINE:
        raise ExportError(f"The exported graphs disagree with {way}: {cosines}.")
    served = verify.Served(np.stack(images), np.stack(texts))
    reference = verify.Reference(
        pictures, sentences, pixels, served.images, served.texts, manifest.logit_scale
    )
    return (
        reference,
        served,
        {
            "checked_against": f"{way}; this architecture against open_clip with random weights",
            "pictures_checked": min(CHECKED_PICTURES, len(pictures)),
            "texts_checked": len(few),
            **{key: round(value, 8) for key, value in cosines.items()},
        },
    )


def _prepared(picture: Image.Image, settings: ImageSettings) -> verify.Pixels:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return open_image(file.getvalue()).decode(settings).squares[0]


def batch_invariance(
    folder: Path,
    settings: BundleManifest,
    pictures: Sequence[Image.Image],
    sentences: Sequence[str],
) -> None:
    encoders = Encoders.load(folder, threads=os.cpu_count() or 1, verify_hashes=True)
    verify.check_batch_invariance(
        encoders,
        list(sentences)[:8],
        [_prepared(picture, settings.image) for picture in pictures[:9]],
    )
