"""What a start does, and in which order: from the environment to the first answer, in a process of
its own.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from classifier.contract.classifiers.fit import fitted_on
from classifier.contract.request.label_spec import LabelSpec
from classifier.main import build
from classifier.model.encoders import Encoders
from classifier.start import begin_from_environment
from tests.support.requests import DEMO, ROOT, ask, base64_of, event

# Python's own record of imports, opened files and started processes; then a request.
PROGRAM = """
import json, os, sys
events = []
NOTED = {"import": 0, "open": 0, "subprocess.Popen": 0}
sys.addaudithook(lambda name, given: name in NOTED and events.append((name, str(given[0]))))
from classifier import MODULE
class Context:
    def get_remaining_time_in_millis(self):
        return 29_000
request = json.load(sys.stdin)
answer = MODULE.handler(request, Context()) if request else None
print(json.dumps([events, sorted(sys.modules), answer]))
"""
BULK = {"BULK_BUCKET": "pictures", "BULK_PREFIX": "in/"}


def start(
    module: str, request: object = None, **variables: str
) -> tuple[list[tuple[str, str]], set[str], dict[str, object]]:
    """Events in order, modules in the end, and the answer to the request."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "lambdas"),
        "CLIP_BUNDLE": str(DEMO),
        **variables,
    }
    environment |= {"CLIP_CLASSIFIERS": str(ROOT / "classifiers")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("MODULE", module)],
        env=environment,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events, modules, answer = json.loads(done.stdout)
    return [(name, given) for name, given in events], set(modules), answer


@pytest.mark.parametrize(("module", "variables"), [("main", {}), ("bulk", BULK)])
def test_the_decoder_and_the_encoders_begin_before_anything_else_is_imported(
    module: str, variables: dict[str, str]
) -> None:
    events, _, _ = start(module, **variables)
    imports = [given for name, given in events if name == "import"]
    decoder = next(i for i, (name, _) in enumerate(events) if name == "subprocess.Popen")
    assert ("import", "numpy") in events[decoder:]
    others = [
        "pydantic",
        "classifier.api.handler" if module == "main" else "classifier.storage.batches",
    ]
    for other in others:
        assert imports.index("onnxruntime") < imports.index(other)


def test_a_session_is_loading_before_the_rest_is_imported() -> None:
    program = (
        "import sys; from classifier.start import begin_from_environment; start ="
        " begin_from_environment()\nassert start.sessions.image.started and"
        " start.sessions.text.started\nassert not {'pydantic', 'PIL', 'classifier.api.handler',"
        " 'classifier.model.encoders', 'classifier.contract.request.schema'} & set(sys.modules)"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "lambdas"),
        "CLIP_BUNDLE": str(DEMO),
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_if_no_classifier_encodes_a_text_its_encoder_loads_with_the_first_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: Encoders
) -> None:
    question = {"labels": ["a dog", "a cat"]}
    rows = np.stack([np.eye(1, encoders.manifest.dimension, k, np.float32)[0] for k in (0, 1)])
    head = {"vectors": base64_of(rows.tobytes()), "scale": 10.0}
    on = fitted_on(encoders.manifest, LabelSpec.model_validate(question)).model_dump()
    (tmp_path / "pets.json").write_text(json.dumps(question | {"head": head, "fitted_on": on}))
    monkeypatch.setenv("CLIP_BUNDLE", str(DEMO))
    monkeypatch.setenv("CLIP_TEXT_ENCODER", "later")
    begun = begin_from_environment()
    assert begun
    session = begun.sessions.text
    handler = build(begun, classifiers=tmp_path)
    image = {"image_data": base64_of((ROOT / "examples" / "images" / "dog.jpg").read_bytes())}
    assert ask(handler, event(image | {"classifier": "pets"}))[0] == 200
    assert not session.started
    assert ask(handler, event(image | question))[0] == 200
    assert session.started


def test_plain_labels_import_nothing_that_only_others_need_and_open_no_file_twice() -> None:
    image = (ROOT / "examples" / "images" / "dog.jpg").read_bytes()
    events, modules, answer = start(
        "main", event({"image_data": base64_of(image), "labels": ["a dog", "a cat"]})
    )
    assert answer["statusCode"] == 200
    assert not modules & {"ftfy", "regex", "html.entities", "tokenizers", "boto3", "PIL", "torch"}
    opened = Counter(given for name, given in events if name == "open" and Path(given).is_file())
    assert not [path for path in opened if path.endswith(("entry_points.txt", "METADATA"))]
    assert {Path(path).name for path in opened} >= {"bundle.json", "tokenizer.safetensors"}
    assert not {path: count for path, count in opened.items() if count > 1}
