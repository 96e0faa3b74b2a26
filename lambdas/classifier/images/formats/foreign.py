"""Recognises files of other formats by their first bytes, and says what to do with them."""

import re

# HEIC's brands: https://github.com/strukturag/libheif/wiki and ISO/IEC 23008-12.
_TO_JPEG = "convert it to JPEG or PNG"
_BASE64 = "send the bytes that it stands for, or this text itself in image_data, as JSON"
_OTHERS = [
    (
        rb".{4}ftyp(?:he[iv][cxms]|(?:mif1|msf1|miaf|mif2).{4}(?:....){0,20}?he[iv][cxms])",
        "HEIC, an iPhone's format",
        "convert it to JPEG; on the iPhone: Settings, Camera, Formats, Most Compatible",
    ),
    (rb".{4}ftypcrx", "a raw file of a Canon camera", _TO_JPEG),
    (
        rb".{4}(?:ftyp|moov|mdat|wide)|\x1a\x45\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xb3\xba]|FLV\x01",
        "a video",
        "send one of its frames as JPEG",
    ),
    (rb"(?:II\*\0|MM\0\*|II\+\0|MM\0\+)", "TIFF", _TO_JPEG),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", _TO_JPEG),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", _TO_JPEG),
    (rb"8BPS", "a Photoshop file", _TO_JPEG),
    (rb"\0\0[\x01\x02]\0", "an icon file", _TO_JPEG),
    (rb"%PDF", "a PDF", "send a page or an image of it as JPEG or PNG"),
    (rb"\x1f\x8b", "gzip", "send the file itself, not compressed"),
    (rb"PK\x03\x04", "a ZIP archive", "send one of the files in it"),
    (
        rb"\s*<svg|\s*<(?:\?xml|!--|!doctype svg).*?<svg",
        "SVG, a drawing and not pixels",
        "draw it first and send a PNG",
    ),
    (
        rb"\s*<(?:!doctype html|html|head|body|script)",
        "a web page (HTML)",
        "download the image itself; the address may need a login",
    ),
    (
        rb"--[^\r\n]{1,80}\r?\nContent-",
        "a form upload (multipart/form-data)",
        "leave the header Content-Type to your client, which names the form's boundary in it",
    ),
    (
        rb"\x89PNG(?=[\r\n\x1a])(?!\r\n\x1a\n)",
        "a PNG whose line ends were changed on the way, as curl -d and transfers in text mode do",
        "send it as binary (curl: --data-binary)",
    ),
    (
        rb"(?:\xc2\x89|\xef\xbf\xbd)PNG|(?:\xef\xbf\xbd){3}|\xc3\xbf\xc3\x98\xc3\xbf",
        "an image that was read as text, which destroys it",
        "read and send it as binary",
    ),
    (
        rb"\s+(?:\xff\xd8\xff|\x89PNG\r|GIF8[79]a)",
        "an image behind white space or a byte order mark",
        "send the file's bytes alone",
    ),
    (
        # As it is, or decoded as if it were base64.
        rb"\s*(?:0x)?(?:ffd8ff|89504e47|47494638)"
        rb"|\x7d\xf7\x7c\x7d|\x14\x50\xfc\x14|\xf3\xde\x74(?:\xe1\xee|\xe0\x4e)|\xe3\xbe\x3d\xe3\xad",
        "text in hexadecimal digits",
        "send the bytes that they stand for, in JSON as base64",
    ),
    (rb"\s*b['\"]", "Python's text for bytes", "send the bytes themselves; decode base64 to text"),
    (rb"\s*data:[\w/+.;=-]*,", "a data: URI", _BASE64),
    (
        rb"\s*(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|AAAA[\w+/]{2}Z0eX|Qk[0-3][\w+/=\s]{40})",
        "text in base64",
        _BASE64,
    ),
    (rb"\s*[{\[]\s*[\"\]}]", "JSON", 'send it with the header "Content-Type: application/json"'),
    (
        rb"\s*https?://\S",
        "an address",
        "download the image and send its bytes; nothing is fetched here",
    ),
    (
        rb"@?[\w~./\\:() -]{1,200}\.(?:jpe?g|png|gif|bmp|webp|avif|hei[cf]|tiff?|json)\s*\Z",
        "a file's name",
        "send the file itself (curl: --data-binary @photo.jpg)",
    ),
]
_UNSUPPORTED = [
    (re.compile(magic, re.DOTALL | re.IGNORECASE), name, advice) for magic, name, advice in _OTHERS
]


def name_format(data: bytes) -> str | None:
    """One sentence that names a file's format by its first bytes, and says what to do."""
    # A byte order mark counts as white space.
    start = re.sub(rb"^\xef\xbb\xbf", b" ", data[:1000])
    for magic, name, advice in _UNSUPPORTED:
        if magic.match(start):
            return f"This is {name}; {advice}."
    return None
