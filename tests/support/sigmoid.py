"""The demo model as one that judges each label alone, as SigLIP's loss trains them."""

import json
from pathlib import Path
from typing import Any

from tests.support.local import bundle

# What it is sure of, with a cosine of 0.36, gets 0.88 then; what isn't there about 0.01.
BIAS = -5.5


def sigmoid_bundle(folder: Path, bias: float = BIAS, **fields: Any) -> Path:
    """A bundle with the demo model's encoders, and `fields` of bundle.json."""
    path = bundle(folder, model="sigmoid")
    manifest = json.loads((path / "bundle.json").read_bytes())
    changes = {"scoring": "sigmoid", "logit_bias": bias, **fields}
    (path / "bundle.json").write_text(json.dumps(manifest | changes), encoding="utf-8")
    return path
