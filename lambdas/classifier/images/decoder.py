"""The process that turns image files into pixels, from the handler's side.

The process is a cell against accidents and bombs: what passes its limits on time or memory, or
crashes it, is an error of that picture alone. It is no sandbox against code.
"""

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from classifier.contract.errors import ApiError
from classifier.images.messages import receive, send

# The process is started before anything large is imported.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from classifier.contract.bundle import ImageSettings
    from classifier.contract.schema import Fit
    from classifier.images.formats import ImageFile

# Of the processor; where it is busy or a small function has a part of it, the clock may go twice as
# far.
MAX_SECONDS = 2.0
# What the pictures of one request may lose at the limits; after that each further one gets
# MIN_SECONDS.
MAX_LOST_SECONDS = 6.0
MIN_SECONDS = 0.2
# How long the process may take to start. It takes 0.1 s, but half a minute on an emulated and busy
# processor.
START_SECONDS = 60.0
# What Python needs to start where the handler's does. The rest of the environment is not for a
# process that reads strangers' files.
_VARIABLES = ("LD_LIBRARY_PATH", "PATH")
# glibc's malloc keeps the memory of pictures up to 3 megapixels for the next one. Getting it from
# the kernel again, page by page, takes a tenth of the time of a 1280 x 720 PNG. Others ignore them:
# https://man7.org/linux/man-pages/man3/mallopt.3.html
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(12 << 20), "MALLOC_TRIM_THRESHOLD_": str(48 << 20)}
Squares: TypeAlias = "list[NDArray[np.uint8]]"
# Left, top, width and height in fractions of the upright picture.
RelativeBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class DecodedImage:
    """Width and height as the file has them, squares [S, S, 3], and the boxes of `regions`.

    `converted_from` names the colour space if it wasn't sRGB.
    """

    width: int
    height: int
    squares: "Squares"
    boxes: list[RelativeBox]
    converted_from: str | None
    is_profile_too_large: bool


class DecodeBudget:
    """How long the pictures of one request may take, which has so many seconds left; one picture
    takes at most `most`.
    """

    def __init__(self, left: float = 2 * MAX_SECONDS, most: float = MAX_SECONDS) -> None:
        self._deadline = time.monotonic() + left
        self._most = most
        self.lost = 0.0

    def seconds(self) -> tuple[float, float]:
        """For the next picture: of the processor, and by the clock."""
        most = self._most if self.lost < MAX_LOST_SECONDS else MIN_SECONDS
        left = max(MIN_SECONDS, self._deadline - time.monotonic())
        return min(most, left), min(2 * most, left)


class Decoder:
    """One worker process, started when it is first needed and again after it has ended. It takes
    one picture at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._worker: socket.socket | None = None
        self.worker_id = 0

    @property
    def parent_id(self) -> int:
        return self._parent.pid if self._parent else 0

    def start(self) -> None:
        """Starts the process and doesn't wait for it."""
        with self._lock:
            self._connect()

    def close(self) -> None:
        """Ends the process and waits for it."""
        with self._lock:
            self._drop(kill=True)
            self._end_parent()

    def decode(
        self,
        image_file: "ImageFile",
        settings: "ImageSettings",
        fit: "Fit",
        allowance: DecodeBudget,
        regions: int = 0,
    ) -> DecodedImage:
        """Raises ApiError."""
        header = {
            "format": image_file.format,
            "width": image_file.width,
            "height": image_file.height,
            "frame": image_file.frame,
            "ends": image_file.ends,
            "transparent": image_file.transparent,
            "crop": image_file.crop,
        }
        target = (settings.size, settings.interpolation, fit, regions)
        parts = (image_file.data, image_file.exif, *image_file.profiles)
        with self._lock:
            worker = self._connected()
            seconds, clock = allowance.seconds()
            start = time.monotonic()
            try:
                worker.settimeout(clock)
                request = {"image_file": header, "target": target, "seconds": seconds}
                send(worker, request | {"lengths": [len(part) for part in parts]}, parts)
                self._wait(worker, start, seconds, clock)
                answer, body = receive(worker, start + clock)
            except (EOFError, OSError) as err:
                # TimeoutError is an OSError; the others mean that the worker has ended.
                self._drop(kill=True)
                spent = time.monotonic() - start
                allowance.lost += spent
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
                self._drop()
        if "error" in answer:
            raise ApiError(400, "invalid_image", f"The {image_file.format} {answer['error']}.")
        import numpy as np

        side = settings.size
        squares = np.frombuffer(body, np.uint8).reshape(-1, side, side, 3)
        return DecodedImage(
            answer["width"],
            answer["height"],
            list(squares),
            [(box[0], box[1], box[2], box[3]) for box in answer["boxes"]],
            answer["converted_from"],
            answer["is_profile_too_large"],
        )

    def _wait(self, worker: socket.socket, start: float, seconds: float, clock: float) -> None:
        """Until the answer begins. Raises TimeoutError."""
        used = _processor_seconds(self.worker_id)
        patience = seconds
        while not select.select([worker], [], [], patience)[0]:
            now = _processor_seconds(self.worker_id)
            spent = now - used if now and used else seconds
            patience = min(seconds - spent, start + clock - time.monotonic())
            if patience < 0.001:
                raise TimeoutError

    def _connected(self) -> socket.socket:
        """A worker that is ready. Raises RuntimeError where none can be started."""
        deadline = time.monotonic() + START_SECONDS
        for _ in range(2):
            self._connect()
            assert self._worker is not None
            if self.worker_id:
                return self._worker
            with contextlib.suppress(EOFError, OSError):
                hello, _ = receive(self._worker, deadline)
                self.worker_id = hello["pid"]
                return self._worker
            self._drop()
            self._end_parent()
        raise RuntimeError("The decoder's process doesn't start.")

    def _connect(self) -> None:
        if self._worker is not None:
            return
        for _ in range(2):
            if self._parent is None:
                self._start_parent()
            assert self._control is not None
            ours, theirs = socket.socketpair()
            try:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
                self._worker = ours
                return
            except OSError:  # the parent has ended
                ours.close()
                self._end_parent()
            finally:
                theirs.close()

    def _start_parent(self) -> None:
        self._control, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "classifier.images.decoder_worker"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={
                **environment,
                **_MALLOC,
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        theirs.close()

    def _end_parent(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._parent is not None:
            self._parent.kill()
            self._parent.wait()
        self._control = self._parent = None

    def _drop(self, *, kill: bool = False) -> None:
        if self._worker is not None:
            self._worker.close()
        if kill and self.worker_id:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.worker_id, signal.SIGKILL)
        self._worker = None
        self.worker_id = 0


# One process serves all that runs in this one. At exit it would end by itself; waiting for it
# leaves nothing behind.
default_decoder = Decoder()
atexit.register(default_decoder.close)


def _processor_seconds(pid: int) -> float | None:
    """What a process has used, by Linux's clock for it (clock_getcpuclockid); None where there is
    no such clock.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return None
