"""The API on this machine, with the answers that API Gateway and Lambda give by themselves."""

import argparse
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn

from classifier.bundle import BundleError, read_manifest
from classifier.main import build
from tools.local.gateway import Gateway, Handler, Limits

MODELS = Path("models")
ONLY_DRAWINGS = "This is the demo model, trained on drawings: it says nothing about photographs."


def listener(port: int) -> socket.socket:
    """A socket on the loopback interface; port 0 takes a free one."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def server(app: Gateway) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=2)
    )


@contextmanager
def running(handler: Handler, limits: Limits | None = None) -> Iterator[str]:
    """The API on a free loopback port while the block runs; its URL."""
    sock, runner = listener(0), server(Gateway(handler, limits))
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


def choose(models: Path, asked: Path | None) -> Path:
    """The bundle that was asked for, else the only real one, else the demo. Exits where there are several."""
    if asked:
        return asked
    real = sorted(path.parent for path in models.glob("*/bundle.json") if path.parent.name != "demo")
    if len(real) > 1:
        names = "".join(f"\n  BUNDLE={path}" for path in real)
        print(f"There are several bundles; name one:{names}", file=sys.stderr)
        raise SystemExit(2)
    return real[0] if real else models / "demo"


def load(bundle: Path) -> Handler:
    """The handler on a bundle whose hashes hold. Exits with what is wrong with it."""
    try:
        return build(bundle, threads=os.cpu_count() or 1, verify_hashes=True)
    except BundleError as err:
        sys.exit(str(err))
    except OSError as err:
        sys.exit(f"{bundle} is no bundle's folder: {err.strerror}")


class Lines(logging.Formatter):
    """The request line with what `extra` brought."""

    KNOWN = frozenset((*logging.LogRecord("", 0, "", 0, "", None, None).__dict__, "message", "asctime", "taskName"))

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in record.__dict__.items() if key not in self.KNOWN}
        return super().format(record) + "".join(f" {key}={value}" for key, value in extra.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--api-key", help="refuses a POST without this key")
    parser.add_argument("--throttle", nargs=2, type=float, metavar=("RATE", "BURST"), help="requests a second, and at once")
    parser.add_argument("--refuse-when-busy", action="store_true", help="500 instead of waiting for the request before")
    asked = parser.parse_args()
    handling = logging.StreamHandler()
    handling.setFormatter(Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handling])
    bundle = choose(MODELS, asked.bundle)
    try:
        sock = listener(asked.port)
    except (OSError, OverflowError) as err:
        sys.exit(f"Port {asked.port} can't be used ({err}); take another: make serve PORT={8001 if asked.port == 8000 else 8000}")
    handler = load(bundle)
    limits = Limits(asked.api_key, asked.throttle, waits=not asked.refuse_when_busy)
    name = read_manifest(bundle, verify_hashes=False).name
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    print(f"{name} answers at {url} (Ctrl-C ends it)\n{ONLY_DRAWINGS if name == 'demo' else ''}\nTry it:")
    print('  echo "{\\"image_data\\": \\"$(base64 -w0 examples/images/dog.jpg)\\", \\"labels\\": [\\"a dog\\", \\"a cat\\"]}" |')
    print(f'    curl {url} -H "Content-Type: application/json" -d @-', flush=True)
    with suppress(KeyboardInterrupt):
        server(Gateway(handler, limits)).run(sockets=[sock])
    print("Ended.")


if __name__ == "__main__":
    main()
