"""Messages between the handler and the decoder's process: a header in JSON and some bytes, over a
socket.
"""

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

_LENGTHS = struct.Struct(">II")


def send(connection: socket.socket, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    """Raises OSError if the other end is closed, or TimeoutError after the socket's timeout."""
    text = json.dumps(header).encode()
    connection.sendall(_LENGTHS.pack(len(text), sum(map(len, parts))) + text)
    for part in parts:
        connection.sendall(part)


def receive(
    connection: socket.socket, deadline: float | None = None
) -> tuple[dict[str, Any], memoryview]:
    """`deadline` is by time.monotonic(). Raises EOFError if the other end is closed,
    TimeoutError past the deadline.
    """
    text, body = _LENGTHS.unpack(_receive(connection, _LENGTHS.size, deadline))
    header: dict[str, Any] = json.loads(bytes(_receive(connection, text, deadline)))
    return header, _receive(connection, body, deadline)


def _receive(connection: socket.socket, size: int, deadline: float | None) -> memoryview:
    buffer = memoryview(bytearray(size))
    at = 0
    while at < size:
        if deadline is not None:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
        count = connection.recv_into(buffer[at:])
        if not count:
            raise EOFError
        at += count
    return buffer
