"""A photograph's pixels in files that lack up to a tenth of their bytes."""

import numpy as np
from PIL import Image

from tests.support.colour_files import SIDE, scene
from tests.support.images import encoded

PERCENTS = (92, 97)


def cut_files() -> dict[str, bytes]:
    """By name: the format and the percentage of bytes that are there."""
    noise = np.random.default_rng(0).integers(-30, 31, (SIDE, SIDE, 3))
    image = Image.fromarray((np.asarray(scene()) + noise).clip(0, 255).astype(np.uint8))
    few = image.quantize(64)
    whole = {
        "PNG": encoded(image),
        "PNG with alpha": encoded(image.convert("RGBA")),
        "PNG with a palette": encoded(few),
        "GIF": encoded(few, "GIF", interlace=0),
        "interlaced GIF": encoded(few, "GIF", interlace=1),
        "JPEG": encoded(image, "JPEG", quality=95),
    }
    return {
        f"{name} cut to {percent} %": data[: len(data) * percent // 100]
        for name, data in whole.items()
        for percent in PERCENTS
    }
