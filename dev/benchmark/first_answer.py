"""The time from the start of a process to its first answer."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dev.benchmark.ask import event
from dev.benchmark.bundles import HOLDING
from dev.benchmark.operations import LABELS, thumbnail


def start(handler: str, **variables: str) -> float:
    """Seconds from the start of the process to its first answer, in AWS's runtime client against a
    runtime API of one event.
    """
    done = threading.Event()
    over = threading.Event()
    asked = json.dumps(
        event(image_data=base64.b64encode(thumbnail()).decode(), labels=LABELS)
    ).encode()

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answers:
                over.wait()  # there is no second event, and the process is about to be ended
                return
            self.send_response(200)
            later = str(int(time.time() * 1000) + 29_000)
            headers = {"Aws-Request-Id": "1", "Deadline-Ms": later, "Invoked-Function-Arn": "arn"}
            for name, value in headers.items():
                self.send_header(f"Lambda-Runtime-{name}", value)
            # The client crashes without it.
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(asked)))
            self.end_headers()
            self.wfile.write(asked)

        def do_POST(self) -> None:
            answers.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()
            done.set()

        def log_message(self, *args: object) -> None:
            pass

    answers: list[bytes] = []
    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    names = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}",
        "CLIP_BUNDLE": str(HOLDING),
    }
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            env=os.environ | names | variables,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        while not done.wait(0.005) and process.poll() is None and time.perf_counter() - began < 60:
            pass
        seconds = time.perf_counter() - began
        process.kill()
        process.wait()
        said.seek(0)
        last_words = said.read()[-3000:]
    over.set()
    api.shutdown()
    api.server_close()
    if not answers or b'"statusCode": 200' not in answers[0]:
        raise RuntimeError(f"{handler} did not answer: {answers[:1]}\n{last_words}")
    return seconds
