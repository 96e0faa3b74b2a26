"""Image files in base64."""

import binascii
import re
from urllib.parse import unquote_to_bytes

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URI = re.compile(r"\s*data:", re.IGNORECASE)
# Base64 has neither a semicolon nor a comma, so this ends the parameters, whatever they are.
_BASE64_MARK = re.compile(r";\s*base64\s*,", re.IGNORECASE)


def from_base64(text: str) -> bytes:
    """Accepts standard and URL-safe base64, padded or not, with white space, and a data: URI with
    any parameters.

    Raises ValueError for anything else.
    """
    mark = _BASE64_MARK.search(text) if _DATA_URI.match(text) else None
    encoded = text[mark.end() if mark else 0 :].encode("ascii")
    try:
        # Nearly all callers send this form, and on 6 MB each further pass takes milliseconds.
        return binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        if mark:
            # A URI may hold +, / and = percent-encoded.
            encoded = unquote_to_bytes(encoded)
        encoded = encoded.translate(_URL_SAFE, b" \t\r\n\f\v")
        if b"=" not in encoded[-2:]:
            encoded += b"=" * (-len(encoded) % 4)
        return binascii.a2b_base64(encoded, strict_mode=True)


NOT_BASE64 = (
    "is not base64; encode the image file's bytes, for instance with: base64 < FILE. In Python"
    " decode it to text, base64.b64encode(data).decode(), which leaves out b'…'. Addresses are not"
    " fetched."
)
