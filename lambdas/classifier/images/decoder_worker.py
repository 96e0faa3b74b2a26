"""The decoder's process: a parent that imports Pillow and forks a worker for each connection it is
sent.

`python -m classifier.images.decoder_worker`, with one end of a Unix socket as its standard input.
It ends when the other end is closed.
"""

import contextlib
import importlib
import math
import os
import resource
import signal
import socket
import sys
import warnings
from typing import Any

from classifier.images.formats import ImageFile
from classifier.images.formats.image_file import DamagedError, cut_off
from classifier.images.messages import receive, send
from classifier.images.pixels import squares

# Address space: Python with Pillow takes 40 MB, the largest permitted image 620 more
# (docs/security.md has the figures).
MAX_ADDRESS_SPACE = 720 << 20
# A worker that has taken more ends, and a fresh one is forked, so that the memory of a large image
# isn't kept in the heap.
MAX_KEPT = 200 << 20


def main() -> None:
    """Forks a worker for each connection that arrives; the kernel reaps those that end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _warm_up()
    control = socket.socket(fileno=0)
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        if os.fork() == 0:
            control.close()
            _work(socket.socket(fileno=descriptors[0]))
            os._exit(0)
        os.close(descriptors[0])


def _work(connection: socket.socket) -> None:
    """Decodes images until the other end is closed."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    warnings.simplefilter("ignore")
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, MAX_ADDRESS_SPACE)
    send(connection, {"pid": os.getpid()})
    while True:
        try:
            header, body = receive(connection)
        except (EOFError, OSError):
            return
        usage = resource.getrusage(resource.RUSAGE_SELF)
        # Whole seconds of the process's life: the kernel ends a worker whose image has taken its
        # time and a second more.
        seconds = math.ceil(usage.ru_utime + usage.ru_stime + header["seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        answer, parts = _answer(header, body)
        del body
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
        answer["last"] = peak > MAX_KEPT
        try:
            send(connection, answer, parts)
        except OSError:
            return
        if answer["last"]:
            return


def _answer(header: dict[str, Any], body: memoryview) -> tuple[dict[str, Any], list[bytes]]:
    parts = []
    at = 0
    for length in header["lengths"]:
        parts.append(bytes(body[at : at + length]))
        at += length
    data, exif, *profiles = parts
    # JSON has no tuples.
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in header["image_file"].items()
    }
    image_file = ImageFile(data=data, exif=exif, profiles=tuple(profiles), **fields)
    try:
        return squares(image_file, *header["target"])
    except DamagedError as err:
        return {"error": str(err)}, []
    except MemoryError:
        return {
            "error": (
                "image takes too much memory to decode; shrink it, or save it again with a usual"
                " program"
            )
        }, []
    except Exception:  # Pillow's decoders raise nearly anything for a truncated or garbled file
        if image_file.share < 1:
            return {"error": str(cut_off(image_file.share))}, []
        return {"error": "image is damaged or truncated; send the whole file"}, []


def _limit(kind: int, most: int) -> None:
    # macOS refuses a limit on the address space.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (most, most))


def _warm_up() -> None:
    """Loads the plugins, which Pillow does with the first image, so that workers are forked with
    them.
    """
    for module in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "WebP"):
        importlib.import_module(f"PIL.{module}ImagePlugin")


if __name__ == "__main__":
    main()
