"""Turns image files into pixels in a process of their own, seen from the handler's side.

Contains crashes and decompression bombs; not a sandbox. A file that passes the limits on time or
memory, or crashes the process, is an error of that image alone.
"""

import atexit
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from classifier.contract.errors import ApiError
from classifier.images.process import Parent, Worker

# The process is started before anything large is imported.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from classifier.contract.bundle import ImageSettings
    from classifier.contract.request.fields import Fit
    from classifier.images.formats import ImageFile

# Seconds of processor time. By the clock it may take twice as long, since the processor may be
# busy, and a small function has only a part of one.
MAX_SECONDS = 2.0
# The images of one request may spend this much on files that hit the limits; after that each
# further image gets MIN_SECONDS.
MAX_LOST_SECONDS = 6.0
MIN_SECONDS = 0.2
# The process starts in 0.1 s, but in half a minute on an emulated and busy processor.
START_SECONDS = 60.0
Squares: TypeAlias = "Sequence[NDArray[np.uint8]]"
# Left, top, width and height in fractions of the upright image.
RelativeBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class DecodedImage:
    """`squares` [S, S, 3] show the whole image: one, or two or three with `tiles`.

    `boxes` are those of the regions, row by row; of a long image some are the same.
    `region_squares` has one for each different box. `width` and `height` are in pixels, as the file
    has them. `converted_from` names the colour space if it wasn't sRGB.
    """

    format: str
    width: int
    height: int
    squares: Squares
    boxes: Sequence[RelativeBox]
    region_squares: Squares
    converted_from: str | None
    is_profile_too_large: bool


class DecodeBudget:
    """The seconds that decoding may take: `left` for all images of one request, at most `most` for
    each.
    """

    def __init__(self, left: float = 2 * MAX_SECONDS, most: float = MAX_SECONDS) -> None:
        self._deadline = time.monotonic() + left
        self._most = most
        self.lost = 0.0

    def seconds(self) -> tuple[float, float]:
        """The seconds for the next image, of the processor and by the clock."""
        most = self._most if self.lost < MAX_LOST_SECONDS else MIN_SECONDS
        left = max(MIN_SECONDS, self._deadline - time.monotonic())
        return min(most, left), min(2 * most, left)


class Decoder:
    """One worker, forked when it is first needed and again after it has ended. It takes one image
    at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent = Parent()
        self._worker: Worker | None = None

    @property
    def parent_id(self) -> int:
        return self._parent.pid

    @property
    def worker_id(self) -> int:
        return self._worker.pid if self._worker else 0

    def start(self) -> None:
        """Starts the processes and doesn't wait for them."""
        with self._lock:
            self._worker = self._worker or self._parent.fork()

    def close(self) -> None:
        """Ends the processes and waits for the parent."""
        with self._lock:
            self._kill_worker()
            self._parent.end()

    def decode(
        self,
        image_file: "ImageFile",
        settings: "ImageSettings",
        fit: "Fit",
        budget: DecodeBudget,
        regions: int = 0,
    ) -> DecodedImage:
        """`regions`: the rows and columns of a grid of them, or 0. Raises ApiError."""
        header = {
            "format": image_file.format,
            "width": image_file.width,
            "height": image_file.height,
            "frame": image_file.frame,
            "ends": image_file.ends,
            "detail": image_file.detail,
            "transparent": image_file.transparent,
            "crop": image_file.crop,
            "share": image_file.share,
        }
        parts = (image_file.data, image_file.exif, *image_file.profiles)
        request = {
            "image_file": header,
            "lengths": [len(part) for part in parts],
            "target": (settings.size, settings.interpolation, fit, regions),
        }
        with self._lock:
            worker = self._ready_worker()
            seconds, clock = budget.seconds()
            start = time.monotonic()
            try:
                answer, body = worker.ask(request, parts, seconds, clock)
            except (EOFError, OSError) as err:
                # TimeoutError is an OSError; the others mean that the worker has ended.
                self._kill_worker()
                spent = time.monotonic() - start
                budget.lost += spent
                if isinstance(err, TimeoutError) and spent >= clock and clock < 2 * seconds:
                    message = (
                        "Time ran out while the image was decoded; send it again, or a smaller one."
                    )
                    raise ApiError(503, "out_of_time", message) from err
                message = (
                    f"The {image_file.format} image takes too much time or memory to decode; shrink"
                    " it, or save it again with a usual program."
                )
                raise ApiError(400, "invalid_image", message) from err
            if answer["last"]:
                worker.close()
                self._worker = None
        if "error" in answer:
            from classifier.images.formats import damaged

            raise damaged(image_file.format, image_file.data, answer["error"])
        import numpy as np

        side = settings.size
        squares = list(np.frombuffer(body, np.uint8).reshape(-1, side, side, 3))
        boxes = [(box[0], box[1], box[2], box[3]) for box in answer["boxes"]]
        whole = len(squares) - len(set(boxes))
        return DecodedImage(
            image_file.format,
            answer["width"],
            answer["height"],
            squares[:whole],
            boxes,
            squares[whole:],
            answer["converted_from"],
            answer["is_profile_too_large"],
        )

    def _ready_worker(self) -> Worker:
        """Raises RuntimeError if none can be started."""
        deadline = time.monotonic() + START_SECONDS
        for _ in range(2):
            self._worker = self._worker or self._parent.fork()
            with contextlib.suppress(EOFError, OSError):
                self._worker.wait_until_ready(deadline)
                return self._worker
            self._kill_worker()
            self._parent.end()
        raise RuntimeError("The decoder's process doesn't start.")

    def _kill_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        self._worker = None


# One process serves everything in this one. At exit it would end by itself; waiting for it leaves
# nothing behind.
default_decoder = Decoder()
atexit.register(default_decoder.close)
