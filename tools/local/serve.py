"""The API on this machine, with the answers that API Gateway and Lambda give by themselves."""

import asyncio
import errno
import logging
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from classifier.contract.bundle import BundleError, read_manifest
from classifier.contract.classifiers.file import ClassifierError
from classifier.contract.classifiers.folder import FOLDER, available, fitted_elsewhere
from classifier.main import build
from classifier.start import begin
from tools.arguments import MakeParser
from tools.bundles import announced, choose
from tools.heic import HELP, take_heic
from tools.local.gateway import Gateway, Handler, Limits

CLASSIFIERS = Path(FOLDER)
# Ctrl-C ends the process after this many seconds at the latest.
EXIT_S = 2.5


def listener(port: int) -> socket.socket:
    """A socket on the loopback interface that takes connections; port 0 takes a free one."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


class Protocol(H11Protocol):
    """Closes a connection whose request isn't complete in time; uvicorn would wait for ever."""

    receive_timeout_s = 30.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        is_waiting = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if is_waiting and self._timer is None:
            self._timer = self.loop.call_later(self.receive_timeout_s, self._close)
        elif not is_waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            logging.getLogger(__name__).info("closed a connection that stalled")
            self.transport.close()


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the process even if a request is still running, since its thread can't be
        stopped.
        """
        super().handle_exit(sig, frame)
        ending = threading.Timer(EXIT_S, os._exit, [0])
        ending.daemon = True
        ending.start()


def server(app: Gateway, protocol: type[Protocol] = Protocol) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http=protocol,
            log_level="warning",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )


@contextmanager
def running(
    handler: Handler, limits: Limits | None = None, protocol: type[Protocol] = Protocol
) -> Iterator[str]:
    """The API on a free loopback port while the block runs; its URL."""
    sock = listener(0)
    runner = server(Gateway(handler, limits), protocol)
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        while not runner.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"
    finally:
        runner.should_exit = True
        thread.join()
        sock.close()


def load(bundle: Path, classifiers: Path | None = CLASSIFIERS) -> Handler:
    """The handler on a bundle whose hashes hold and a folder of classifiers, without those that
    were fitted on another model. Exits with what is wrong with them.
    """
    try:
        start = begin(bundle, os.cpu_count() or 1)
        names = None
        if classifiers:
            elsewhere = fitted_elsewhere(classifiers, read_manifest(bundle, verify_hashes=False))
            for message in elsewhere.values():
                print(f"Not served: {message}", file=sys.stderr)
            names = [name for name in available(classifiers) if name not in elsewhere]
        return build(start, verify_hashes=True, classifiers=classifiers, names=names)
    except (BundleError, ClassifierError) as err:
        sys.exit(str(err))
    except OSError as err:
        sys.exit(f"{bundle} is no bundle's folder: {err.strerror}")


class Lines(logging.Formatter):
    """The request line with the fields of `extra`."""

    KNOWN = frozenset(
        (
            *logging.LogRecord("", 0, "", 0, "", None, None).__dict__,
            "message",
            "asctime",
            "taskName",
        )
    )

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in record.__dict__.items() if key not in self.KNOWN}
        return super().format(record) + "".join(f" {key}={value}" for key, value in extra.items())


def main(argv: Sequence[str] | None = None) -> None:
    parser = MakeParser(prog="make serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument(
        "--classifiers",
        type=Path,
        default=CLASSIFIERS,
        help="the folder of the classifiers that have names",
    )
    parser.add_argument("--api-key", help="refuses a call without this key")
    parser.add_argument(
        "--throttle",
        nargs=2,
        type=float,
        metavar=("RATE", "BURST"),
        help="requests a second, and at once",
    )
    parser.add_argument(
        "--refuse-when-busy",
        action="store_true",
        help="500 instead of waiting for the request before",
    )
    parser.add_argument("--heic", action="store_true", help=HELP)
    arguments = parser.parse_args(argv)
    if arguments.heic:
        take_heic()
    handling = logging.StreamHandler()
    handling.setFormatter(Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handling])
    bundle = announced(choose(arguments.bundle))
    try:
        sock = listener(arguments.port)
    except (OSError, OverflowError) as err:
        taken = getattr(err, "errno", None) == errno.EADDRINUSE
        sys.exit(
            f"Port {arguments.port} {'is in use' if taken else f'cannot be used ({err})'}. Take"
            f" another: make serve PORT={8001 if arguments.port == 8000 else 8000}"
        )
    handler = load(bundle, arguments.classifiers)
    limits = Limits(arguments.api_key, arguments.throttle, waits=not arguments.refuse_when_busy)
    name = read_manifest(bundle, verify_hashes=False).name
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    key = f" -H {shlex.quote(f'x-api-key: {arguments.api_key}')}" if arguments.api_key else ""
    print(f"{url} is a page to try it; {name} answers there (Ctrl-C ends it)\nOr:")
    print(f'  curl --data-binary @examples/images/dog.jpg -H "Content-Type: image/jpeg"{key} \\')
    print(f'    "{url}?labels=a+dog&labels=a+cat"', flush=True)
    with suppress(KeyboardInterrupt):
        server(Gateway(handler, limits)).run(sockets=[sock])
    print("Ended.", flush=True)


if __name__ == "__main__":
    main()
