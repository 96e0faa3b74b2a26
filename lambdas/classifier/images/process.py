"""The handler's ends of the decoder's processes: a parent that forks, and a worker that decodes.

https://docs.python.org/3/library/socket.html#socket.send_fds: the parent gets one end of a socket
for each worker, and the handler keeps the other.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from classifier.images.messages import receive, send

# Python needs these to start as the handler's does. The rest of the environment is not for a
# process that reads strangers' files.
_VARIABLES = ("LD_LIBRARY_PATH", "PATH")
# glibc's malloc keeps the memory of images up to 3 megapixels for the next one. Getting it from
# the kernel again, page by page, takes a tenth of the time of a 1280 x 720 PNG. Others ignore them:
# https://man7.org/linux/man-pages/man3/mallopt.3.html
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(12 << 20), "MALLOC_TRIM_THRESHOLD_": str(48 << 20)}


class Worker:
    """A process that decodes one image at a time. `pid` is 0 until it is ready."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = 0

    def wait_until_ready(self, deadline: float) -> None:
        """`deadline` is by time.monotonic(). Raises EOFError if the worker has ended, OSError past
        the deadline.
        """
        if not self.pid:
            hello, _ = receive(self._connection, deadline)
            self.pid = hello["pid"]

    def ask(
        self, request: Mapping[str, Any], parts: Sequence[bytes], seconds: float, clock: float
    ) -> tuple[dict[str, Any], memoryview]:
        """The answer's header and body. `seconds` of the processor are allowed, and `clock` seconds
        of time.

        Raises TimeoutError past them, EOFError or another OSError if the worker has ended.
        """
        start = time.monotonic()
        self._connection.settimeout(clock)
        send(self._connection, {**request, "seconds": seconds}, parts)
        self._wait(start, seconds, clock)
        return receive(self._connection, start + clock)

    def _wait(self, start: float, seconds: float, clock: float) -> None:
        """Waits until the answer begins. Raises TimeoutError."""
        before = _processor_seconds(self.pid)
        patience = seconds
        while not select.select([self._connection], [], [], patience)[0]:
            now = _processor_seconds(self.pid)
            spent = now - before if now and before else seconds
            patience = min(seconds - spent, start + clock - time.monotonic())
            if patience < 0.001:
                raise TimeoutError

    def close(self) -> None:
        """The process ends by itself once it has nothing more to do."""
        self._connection.close()

    def kill(self) -> None:
        self.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Parent:
    """The process that forks the workers: started for the first one, and again after it has
    ended.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def fork(self) -> Worker:
        """Doesn't wait for the worker. Raises RuntimeError if the process doesn't start."""
        for _ in range(2):
            control = self._control or self._start()
            ours, theirs = socket.socketpair()
            try:
                socket.send_fds(control, [b"f"], [theirs.fileno()])
            except OSError:  # the process has ended
                ours.close()
                self.end()
            else:
                return Worker(ours)
            finally:
                theirs.close()
        raise RuntimeError("The decoder's process doesn't start.")

    def _start(self) -> socket.socket:
        self._control, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
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
        return self._control

    def end(self) -> None:
        """Waits until the process has ended."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = None
        self._process = None


def _processor_seconds(pid: int) -> float | None:
    """The processor's time of a process, by Linux's clock for it (clock_getcpuclockid); None
    without such a clock.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return None
