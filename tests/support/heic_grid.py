"""HEIC files in tiles, as phones write them: the boxes of ISO/IEC 23008-12 around tiles by x265."""

import io
import struct

import pillow_heif
from PIL import Image

Box = tuple[bytes, bytes]


def grid_heic(
    image: Image.Image,
    *extra: Box,
    tile: int = 128,
    told: tuple[int, int] | None = None,
    merged: tuple[int, int] | None = None,
) -> bytes:
    """`extra`: properties of the whole image, in their order. `told` and `merged`: other sizes for
    the grid's `ispe` box and in the grid itself.
    """
    columns = -(-image.width // tile)
    rows = -(-image.height // tile)
    tiles = [
        _coded(_cut(image, column * tile, row * tile, tile))
        for row in range(rows)
        for column in range(columns)
    ]
    settings = tiles[0][0]
    assert all(other == settings for other, _ in tiles)
    # Item 1 is the grid, the others are its tiles.
    numbers = range(2, 2 + len(tiles))
    grid = struct.pack(">4BHH", 0, 0, rows - 1, columns - 1, *(merged or image.size))
    properties = [
        _box(b"hvcC", settings),
        _full(b"ispe", struct.pack(">II", tile, tile)),
        _full(b"ispe", struct.pack(">II", *(told or image.size))),
        *(_box(*part) for part in extra),
    ]
    of_grid = bytes([3, *(0x80 | 4 + i for i in range(len(extra)))])
    associations = [struct.pack(">HB", 1, len(of_grid)) + of_grid]
    associations += [struct.pack(">HBBB", number, 2, 0x81, 2) for number in numbers]
    kinds = [_entry(1, b"grid", hidden=False)]
    kinds += [_entry(number, b"hvc1", hidden=True) for number in numbers]
    parts = [
        _full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", struct.pack(">H", 1)),
        _full(b"iinf", struct.pack(">H", len(kinds)) + b"".join(kinds)),
        _full(
            b"iref",
            _box(b"dimg", struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *numbers)),
        ),
        _box(
            b"iprp",
            _box(b"ipco", b"".join(properties))
            + _full(b"ipma", struct.pack(">I", len(associations)) + b"".join(associations)),
        ),
        _box(b"idat", grid),
    ]
    head = _box(b"ftyp", b"heic\0\0\0\0mif1heic")
    # The positions of the tiles follow the box that lists them, whose length they don't change.
    places = _places(tiles, len(grid), 0)
    start = len(head) + len(_full(b"meta", b"".join(parts) + places)) + 8
    meta = _full(b"meta", b"".join(parts) + _places(tiles, len(grid), start))
    return head + meta + _box(b"mdat", b"".join(data for _, data in tiles))


def _cut(image: Image.Image, left: int, top: int, side: int) -> Image.Image:
    """A tile; what lies outside of the image has the colour of its last corner, as in phones'."""
    canvas = Image.new(
        image.mode, (side, side), image.getpixel((image.width - 1, image.height - 1))
    )
    canvas.paste(
        image.crop((left, top, min(left + side, image.width), min(top + side, image.height)))
    )
    return canvas


def _coded(image: Image.Image) -> tuple[bytes, bytes]:
    """The decoder's settings and the coded pixels, from a file that holds this tile alone."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, chroma=444)
    data = file.getvalue()
    at = data.index(b"hvcC")
    (length,) = struct.unpack_from(">I", data, at - 4)
    media = data.index(b"mdat")
    return data[at + 4 : at - 4 + length], data[media + 4 :]


def _places(tiles: list[tuple[bytes, bytes]], grid: int, start: int) -> bytes:
    """The grid lies in `idat`, the tiles in the file."""
    entries = struct.pack(">HHHHII", 1, 1, 0, 1, 0, grid)
    for number, (_, data) in enumerate(tiles, 2):
        entries += struct.pack(">HHHHII", number, 0, 0, 1, start, len(data))
        start += len(data)
    return _full(b"iloc", struct.pack(">BBH", 0x44, 0, 1 + len(tiles)) + entries, version=1)


def _entry(number: int, kind: bytes, *, hidden: bool) -> bytes:
    return _full(b"infe", struct.pack(">HH4sx", number, 0, kind), version=2, flags=int(hidden))


def _full(name: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags) + content)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content
