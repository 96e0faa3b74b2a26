import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from classifier.handler import Handler
from tests.support.requests import DEMO, ROOT
from tools.benchmark.endpoint import cost_per_1000, measure
from tools.benchmark.plot import draw
from tools.benchmark.start import LINES, once
from tools.benchmark.start import draw as draw_start
from tools.local.serve import running


def test_an_endpoint_is_measured_by_number_of_labels(handler: Handler) -> None:
    with running(handler) as url:
        figures = measure(url, "key", calls=2, memory=3008)
    for kind in ("seen", "new"):
        for count in (1, 5, 9):
            p50, p99 = (float(figures[f"{kind}_{count}_labels_{share}_ms"]) for share in ("p50", "p99"))
            assert 0 < p50 <= p99
            assert float(figures[f"{kind}_{count}_labels_image_p50_ms"]) > 0
            assert float(figures[f"{kind}_{count}_labels_estimated_cost_per_1000_images_usd"]) > 0.0037
    assert not [name for name in figures if name.startswith("errors")]


def test_an_endpoint_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="check URL and KEY"):
        measure("http://127.0.0.1:9/", "key", calls=1, memory=3008)


def test_the_cost_is_compute_and_request_and_gateway() -> None:
    # 100 ms at 1,024 MB: 0.1 GB-seconds a call.
    assert cost_per_1000(100, 1024) == pytest.approx(1000 * (0.1 * 0.0000133334 + 0.0000002 + 0.0000035))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_start_is_measured_step_by_step() -> None:
    run = once(DEMO, cold=False)
    own = [run["spans"][name] for name in LINES[0]]
    assert own[0][0] == pytest.approx(0, abs=0.01)
    assert all(first < last for first, last in run["spans"].values())
    assert all(before[1] <= after[0] for before, after in pairwise(own))
    # The encoders begin to load before the rest is imported.
    for (name,) in LINES[1:]:
        assert run["spans"][name][0] <= run["spans"]["the other imports"][0]
    assert own[-1][1] <= run["seconds"] + 0.05
    assert run["files"] > 100 and 50 < run["peak_mb"] < 1000
    bars = [
        element.text
        for element in ET.fromstring(draw_start({"warm": run}, "two & a half cores")).iter()
        if element.tag.endswith("title")
    ]
    assert bars == [name for line in LINES for name in line]


def test_the_plot_is_an_svg_with_every_bar() -> None:
    figures: dict[str, float | str] = {"machine": "two & a half cores", "image_precision": "int14", "text_precision": "fp32"}
    for n in (1, 5, 9):
        for key in ("original", "original_without_duplicate", "new", "cached"):
            figures[f"{key}_{n}_labels_ms"] = 10.0 * n
    figures |= {
        "image_holding_ms": 12.0,
        "outside_encoders_ms": 3.0,
        "start_to_first_answer_s": 0.7,
        "original_start_to_first_answer_s": 4,
    }
    root = ET.fromstring(draw(figures))
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 1 + 12 + 3 + 2


def test_a_side_measures_in_a_process_of_its_own() -> None:
    # As the command starts it: what a spawned process can't import from the command's own module shows only there.
    program = (
        "import functools, pathlib; from tools.benchmark.api import Side, main, ours, thumbnail; "
        "print(Side(functools.partial(ours, pathlib.Path('models/demo')), thumbnail())('outside', None, 3))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert len(json.loads(done.stdout)) == 3


def test_the_benchmark_itself_loads_without_torch() -> None:
    # Its memory and start-up are the handler's only where the measuring process brings nothing of its own.
    program = "import sys; sys.modules['torch'] = None; import tools.benchmark.api"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
