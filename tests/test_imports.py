import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable
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
        "images/colours/conversion",
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


def test_the_export_needs_nothing_of_the_maintainers() -> None:
    modules = list((PACKAGE.parent.parent / "export").rglob("*.py"))
    roots = {name.partition(".")[0] for module in modules for name in imported(module)}
    assert "classifier" in roots and not roots & {"dev", "tests", "tools", "stacks"}


def closure(modules: Iterable[Path]) -> set[str]:
    """All that these modules import, through the project's own modules too."""
    root = PACKAGE.parent.parent
    names = set[str]()
    queue = list(modules)
    while queue:
        for name in imported(queue.pop()) - names:
            names.add(name)
            own = "lambdas/" if name.startswith("classifier") else ""
            for path in (f"{own}{name.replace('.', '/')}{end}" for end in (".py", "/__init__.py")):
                queue += [root / path] if (root / path).is_file() else []
    return names


def test_the_stack_sees_contracts_alone_through_other_modules_too() -> None:
    stacks = PACKAGE.parent.parent / "stacks"
    names = closure(stacks.rglob("*.py"))
    own = {name for name in names if name.startswith("classifier")}
    assert own and all(name.startswith("classifier.contract.") for name in own)
    libraries = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    pydantic = {"pydantic", "pydantic_core"}
    cdk = {"aws_cdk", "constructs"}
    assert libraries == pydantic | cdk | {"classifier", "stacks"}
    for name in ("settings/deployment", "bundle"):
        # They are checked before the CDK starts, which takes seconds.
        assert not {one.partition(".")[0] for one in closure([stacks / f"{name}.py"])} & cdk


# Refuses every installed package but those that requirements.txt names, and those that they need.
DEPLOYING = """
import re, sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
lines = Path("requirements.txt").read_text().splitlines()
queue = [line.partition("==")[0] for line in lines if "==" in line]
allowed = set()
while queue:
    name = re.match(r"[\\w.-]+", queue.pop())[0].lower().replace("_", "-")
    if name not in allowed:
        allowed.add(name)
        try:
            queue += [line for line in requires(name) or [] if "extra ==" not in line]
        except PackageNotFoundError:
            pass
sys.modules.update({
    package: None
    for package, owners in packages_distributions().items()
    if not allowed & {owner.lower().replace("_", "-") for owner in owners}
})
sys.modules.pop("classifier", None)
"""


def test_deploying_checks_prompts_with_what_its_requirements_name(tmp_path: Path) -> None:
    file = {"labels": ["ein Hündchen", "eine Katze"]}
    (tmp_path / "pets.json").write_text(json.dumps(file), encoding="utf-8")
    check = f"""
import stacks.bundle
from classifier.contract.bundle import read_manifest
from classifier.contract.classifiers.folder import read_classifiers
from classifier.engine.check import check_prompts
folder = Path("models/demo")
manifest = read_manifest(folder, verify_hashes=False)
check_prompts(read_classifiers(Path({str(tmp_path)!r}), manifest), folder, manifest)
assert sys.modules["numpy"] is None and sys.modules["regex"]
"""
    done = subprocess.run(
        [sys.executable, "-c", DEPLOYING + check],
        cwd=PACKAGE.parent.parent,
        env={"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), "."])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_handler_runs_if_torch_cannot_be_imported() -> None:
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


def test_modules_stay_short_and_those_of_the_run_time_shorter() -> None:
    root = PACKAGE.parent.parent
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True
    )
    paths = [root / name for name in listed.stdout.splitlines()]
    assert PACKAGE / "main.py" in paths
    lengths = {path: path.read_bytes().count(b"\n") for path in paths if path.exists()}
    assert not {
        path.relative_to(root).as_posix(): length
        for path, length in lengths.items()
        if length > (200 if path.is_relative_to(PACKAGE) else 250)
    }
