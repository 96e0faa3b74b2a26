import ast
import os
import subprocess
import sys
from pathlib import Path

import PIL
import pytest

PACKAGE = Path(__file__).parent.parent / "lambdas" / "classifier"
MODULES = sorted(PACKAGE.rglob("*.py"))
# What each room may import of the others: downwards only. The entries may import any.
ROOMS = {
    "api": {"engine", "model", "images", "contract"},
    "storage": {"engine", "model", "images", "contract"},
    "engine": {"model", "images", "contract"},
    "model": {"contract"},
    "images": {"contract"},
    "contract": set[str](),
}
# The decoder's two sides start, limit and end processes.
ALONE = {
    "onnxruntime": {"model/sessions"},
    "PIL": {
        "images/squares",
        "images/pixels",
        "images/colours",
        "images/on_white",
        "images/cut_off",
    },
    "os": {"__init__", "main", "bulk", "start", "images/process", "images/decoder_worker"},
    "boto3": {"storage/bucket"},
    "botocore": {"storage/bucket"},
}
BUILD_TIME = {"torch", "open_clip", "onnx", "aws_cdk", "stacks", "export", "tools", "tests"}


def imported(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way_and_heavy_libraries_stay_in_their_module(module: Path) -> None:
    names = imported(module)
    roots = {name.partition(".")[0] for name in names}
    assert not roots & BUILD_TIME
    path = module.relative_to(PACKAGE)
    for library, owners in ALONE.items():
        assert library not in roots or path.with_suffix("").as_posix() in owners
    own = {name.split(".")[1] for name in names if name.startswith("classifier.")}
    if path.parent.name:
        room = path.parts[0]
        assert own <= ROOMS[room] | {room}


def test_the_bundle_is_read_by_the_standard_library_and_pydantic_alone() -> None:
    roots = {name.partition(".")[0] for name in imported(PACKAGE / "contract" / "bundle.py")}
    assert roots - set(sys.stdlib_module_names) == {"pydantic"}


def test_the_stack_imports_contracts_alone_and_checks_settings_before_the_cdk_starts() -> None:
    root = PACKAGE.parent.parent
    for module in (root / "app.py", *(root / "stacks").glob("*.py")):
        names = imported(module)
        roots = {name.partition(".")[0] for name in names}
        assert not roots & {"export", "tools", "examples", "tests", "torch", "onnxruntime"}, module
        allowed = {
            "classifier.contract.bundle",
            "classifier.contract.classifier_file",
            "classifier.engine.registry",
            "classifier.contract.schema",
            "classifier.contract.parsing",
            "classifier.contract.errors",
            "classifier.contract.routes",
        }
        assert {name for name in names if name.startswith("classifier")} <= allowed, module
        assert module.stem not in ("settings", "bundle") or not roots & {"aws_cdk", "constructs"}


def test_the_handler_runs_where_torch_cannot_be_imported() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'open_clip', 'onnx', 'aws_cdk',"
        " 'huggingface_hub')))\nfrom pathlib import Path; from classifier.main import build; from"
        " classifier.start import begin; build(begin(Path('models/demo'), 1))"
    )
    root = PACKAGE.parent.parent
    path = {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_onnxruntime_keeps_no_device_id_and_sends_no_events(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from classifier.main import build; from classifier.start import"
        " begin; build(begin(Path('models/demo'), 1))"
    )
    root = PACKAGE.parent.parent
    environment = {"PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_the_decoders_process_loads_pillow_and_the_standard_library_alone() -> None:
    program = (
        "import sys; before = set(sys.modules); import classifier.images.decoder_worker;"
        " print(*(set(sys.modules) - before))"
    )
    path = {
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(Path(PIL.__file__).parent.parent)])
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env=path, capture_output=True, text=True, check=True
    )
    assert {name.partition(".")[0] for name in done.stdout.split()} - set(
        sys.stdlib_module_names
    ) == {"classifier", "PIL"}
