"""HEIC files, for deployments that take them."""

from classifier.images.formats.image_file import DamagedError, ImageFile, cut_off
from classifier.images.formats.items import full_length, item_profiles, read_items

# Only HEVC images, in one piece or in tiles. The library knows more codings.
_KINDS = (b"hvc1", b"grid", b"iden")


def read_heic(data: bytes) -> ImageFile:
    """The size is the largest that an item has. The decoder crops and turns by itself."""
    items = read_items(data)
    if not items or items.kind not in _KINDS or not items.sizes:
        raise DamagedError("file holds no still image in HEVC; convert it to JPEG")
    width, height = max(items.sizes, key=lambda size: size[0] * size[1])
    profiles = item_profiles(data, items.properties)
    # Of an image in tiles, the library decodes those that are there, and fills in the others.
    if full_length(data) > len(data):
        raise cut_off(len(data) / full_length(data))
    return ImageFile("HEIC", width, height, data, items.alpha, profiles=profiles)
