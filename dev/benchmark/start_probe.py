"""What a start does when, from inside: does what classifier.main does, and notes the time of each
step. For dev.benchmark.start.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classifier.model.sessions import LazySession

SPANS: dict[str, tuple[float, float]] = {}
# Since when, in seconds of the wall clock: the process was started by another one.
_last = float(os.environ["BENCHMARK_STARTED"])
_opened: set[str] = set()


def note(name: str) -> None:
    """The step of that name ends now; it began where the last one ended."""
    global _last
    SPANS[name] = (_last, time.time())
    _last = time.time()


note("Python and Lambda's client")
sys.addaudithook(lambda name, given: _opened.add(str(given[0])) if name == "open" else None)
os.environ["CLIP_BUNDLE"] = os.environ.pop("BENCHMARK_BUNDLE")
from classifier.start import begin_from_environment  # noqa: E402

start = begin_from_environment()
del os.environ["CLIP_BUNDLE"]
assert start
note("numpy and ONNX Runtime")
_begun = _last


def note_loading(name: str, session: "LazySession") -> None:
    if not session.started:
        SPANS[name] = (_begun, _begun)
        return
    session.start().add_done_callback(lambda _: SPANS.update({name: (_begun, time.time())}))


note_loading("image encoder", start.sessions.image)
note_loading("text encoder", start.sessions.text)
from classifier.main import build  # noqa: E402

note("the other imports")
_handler = build(
    start,
    classifiers=Path(os.environ["CLIP_CLASSIFIERS"]) if "CLIP_CLASSIFIERS" in os.environ else None,
)
note("checks, classifiers, waiting")


def peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


_ready_mb = peak_mb()


def handler(event: Any, context: Any) -> Any:
    global _last
    _last = time.time()
    answer = _handler(event, context)
    note("the first answer")
    found = {
        "spans": SPANS,
        "files": len([path for path in _opened if Path(path).is_file()]),
        "ready_mb": _ready_mb,
        "peak_mb": peak_mb(),
        "read_mb": sum(map(_read_bytes, _family())) / 1e6,
    }
    Path(os.environ["BENCHMARK_FOUND"]).write_text(json.dumps(found))
    return answer


def _family() -> list[int]:
    """This process and those that it started, and those that these started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = path.read_text(errors="replace").rpartition(")")[2].split()
        parents[int(path.parent.name)] = int(fields[1])
    family = [os.getpid()]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def _read_bytes(pid: int) -> int:
    """From storage, read ahead included; what the page cache holds doesn't count.
    https://man7.org/linux/man-pages/man5/proc_pid_io.5.html
    """
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])
