"""A deployed endpoint, as far as its first call sees it."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

ANSWER = '{"result": {"a dog": 0.9, "a cat": 0.1}}'


@contextmanager
def endpoint(
    *statuses: int,
    models: tuple[str, ...] = ("demo",),
    versions: tuple[str, ...] = ("",),
    message: str = "not yet",
    context: ssl.SSLContext | None = None,
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A loopback server that gives these statuses one after the other, then 200; its URL and the
    requests' headers. The answers' X-Model and X-Version likewise, the last one for ever.
    """
    seen: list[dict[str, str]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert set(body) == {"image_data", "labels"}
            status = statuses[len(seen)] if len(seen) < len(statuses) else 200
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.send_header("X-Model", models[min(len(seen), len(models)) - 1])
            self.send_header("X-Version", versions[min(len(seen), len(versions)) - 1])
            self.end_headers()
            refusal = json.dumps({"message": message})
            self.wfile.write((ANSWER if status == 200 else refusal).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http{'s' if context else ''}://localhost:{server.server_port}/", seen
        finally:
            server.shutdown()
            thread.join()
