"""Formats of images, and the content types of bodies."""

# By Pillow's names. A file's content tells its format, whatever its content type says.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
# The content types of a body that is an image: by their registered names, and as some clients call
# them.
IMAGE_TYPES = (
    *(f"image/{name.lower()}" for name in IMAGE_FORMATS),
    *(f"image/{name}" for name in ("jpg", "pjpeg", "x-png")),
    "application/octet-stream",
    "binary/octet-stream",
)
# The content types that are accepted if the deployment takes HEIC.
HEIC_TYPES = ("image/heic", "image/heif")
# curl's content type if the caller names none. Images are accepted with it, forms are not.
FORM_TYPE = "application/x-www-form-urlencoded"
MULTIPART_TYPE = "multipart/form-data"
# The content types that API Gateway must pass on as bytes. A body of another type arrives as text,
# which destroys an image; with */*, JSON would arrive in base64. Refused types are listed too, so
# that the refusal can say what the bytes are.
BINARY_TYPES = (
    *IMAGE_TYPES,
    FORM_TYPE,
    MULTIPART_TYPE,
    *HEIC_TYPES,
    *(f"image/{name}" for name in ("tiff", "jxl", "jp2", "svg+xml")),
)
