"""Whether a function is large enough for a bundle, estimated before anything is deployed."""

from classifier.contract.bundle import BundleManifest
from stacks.settings.function import MAX_MEMORY_MB, FunctionSettings

MB = 1_000_000
MB_A_VCPU = 1769
INIT_SECONDS = 10
# The largest images take 700 MB on top of the model.
IMAGES_MB = 700
# Weights may be in memory twice: as they are mapped, and packed for products.
COPIES = 2
# Measured once, on two x86 cores with AVX2: the 0.64 GB of ViT-H-14's image encoder in `int8-full`
# loaded in 1.6 s.
INIT_SECONDS_PER_GB = 2.5
BYTES_A_WEIGHT = {"int14": 2, "int14-both": 2, "fp32": 4}
# docs/performance.md: a precision's time as a share of fp32's, and its guess that ViT-B/32 in int8
# takes 100 ms on 3,008 MB: 88 million weights at each of 50 positions.
SHARE = {"int8": 0.40, "int8-full": 0.63, "int8-rows": 0.48, "int8-rows-full": 0.68, "int14": 0.72}
SECONDS_A_PRODUCT = 0.1 / SHARE["int8"] / (88e6 * 50)
GUESSED_AT_MB = 3008
# The smallest patches of large models. Others have fewer positions, and are faster.
PATCH = 14


def doubts(manifest: BundleManifest, settings: FunctionSettings) -> list[str]:
    """A sentence for each thing that probably won't work."""
    weights = {name: manifest.files[f"{name}.weights"].bytes for name in ("image", "text")}
    total = sum(weights.values())
    precision = manifest.precision["image"]
    found = list[str]()

    memory = IMAGES_MB + COPIES * total // MB
    if memory > settings.memory:
        remedy = (
            f"Set memory={memory}, or make the bundle in fewer bits."
            if memory <= MAX_MEMORY_MB
            else f"Lambda gives at most {MAX_MEMORY_MB:,}: take a smaller model or fewer bits."
        )
        found.append(
            f"{manifest.name} needs about {memory:,} MB of memory, and memory={settings.memory}."
            f" {remedy}"
        )

    start = INIT_SECONDS_PER_GB * total / 1e9
    if start > INIT_SECONDS:
        found.append(
            f"{manifest.name} loads in about {start:.0f} s, and Lambda begins an initialisation"
            f" again after {INIT_SECONDS} s. Take a smaller model or fewer bits."
        )

    products = weights["image"] / BYTES_A_WEIGHT.get(precision, 1)
    products *= (manifest.image.size / PATCH) ** 2
    seconds = products * SECONDS_A_PRODUCT * SHARE.get(precision, 1)
    seconds *= GUESSED_AT_MB / settings.memory
    if seconds > settings.timeout:
        found.append(
            f"{manifest.name} takes about {seconds:.0f} s an image on"
            f" {settings.memory / MB_A_VCPU:.1f} vCPUs, and timeout={settings.timeout}. Set more"
            " memory, which brings vCPUs, or take a smaller model or fewer bits."
        )
    return found
