"""The report: one HTML file that holds everything and loads nothing."""

import base64
import hashlib
import html
import io
import json
import os
import re
from pathlib import Path

from PIL import Image

from classifier.contract.bundle import ImageSettings
from classifier.contract.errors import ApiError
from classifier.contract.strict_json import JsonObject
from classifier.images.opened_image import open_image

TEMPLATE = Path(__file__).with_name("report.html")
# In pixels: a thumbnail's side, twice that on a desk.
SIDE = 160
QUALITY = 70


def write_report(path: Path, data: JsonObject) -> None:
    """`data`: of report.html, texts as they are. Replaces the file whole."""
    template = TEMPLATE.read_text(encoding="utf-8")
    # Nothing of a text may end the script that holds it.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    parts = {"%POLICY%": policy(template), "%TITLE%": html.escape(data["title"]), "%DATA%": text}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(
        re.sub("|".join(parts), lambda found: parts[found[0]], template), encoding="utf-8"
    )
    os.replace(partial, path)


def policy(template: str) -> str:
    """Allows this style, this script and images inside the file, and no request."""

    def sources(tag: str) -> str:
        text = template.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    own = f"script-src {sources('script')}; style-src {sources('style')}; img-src data:"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def thumbnail(path: Path) -> str:
    """A data: URI of the whole image, by the decoder that classifies it.

    Empty if it can't be read any more.
    """
    settings = ImageSettings(
        size=SIDE, interpolation="bicubic", resize_mode="shortest", max_batch=1
    )
    try:
        [square] = open_image(path.read_bytes()).decode(settings, "pad").squares
    except (OSError, ApiError):
        return ""
    file = io.BytesIO()
    Image.fromarray(square).save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
