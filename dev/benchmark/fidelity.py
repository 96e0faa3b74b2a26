"""How near large JPEGs come to what plain decoding makes of them."""

import io

import numpy as np

from dev.benchmark.bundles import FP32
from export.judging.material import PHOTOGRAPHS


def decode_fidelity() -> dict[str, float]:
    """How near the served pixels of large JPEGs come to plainly decoded ones, and the embeddings
    made of both in fp32.
    """
    import onnxruntime
    from PIL import Image

    from classifier.contract.bundle import read_manifest
    from classifier.images.opened_image import open_image
    from classifier.images.squares import crop

    settings = read_manifest(FP32, verify_hashes=False).image
    session = onnxruntime.InferenceSession(FP32 / "image.onnx")
    cosines = []
    differences = []
    for name in ("astronaut", "cat", "coffee", "rocket"):
        file = io.BytesIO()
        Image.open(PHOTOGRAPHS / "judging" / f"{name}.jpg").resize((4000, 3000)).save(
            file, "JPEG", quality=90
        )
        served = open_image(file.getvalue()).decode(settings).squares[0]
        plain = np.asarray(
            crop(Image.open(file).convert("RGB"), settings.size, Image.Resampling.BICUBIC)[0]
        )
        one, two = (session.run(None, {"pixels": pixels[None]})[0][0] for pixels in (served, plain))
        cosines.append(float(one @ two))
        differences.append(float(np.abs(served.astype(float) - plain).mean()))
    return {
        "jpeg_12_megapixels_least_cosine": min(cosines),
        "jpeg_12_megapixels_mean_pixel_difference": max(differences),
    }
