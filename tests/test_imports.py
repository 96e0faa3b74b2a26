import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lambdas" / "classifier"
MODULES = sorted(PACKAGE.glob("*.py"))
# Imports go one way; the order here is that way.
ORDER = ["main", "handler", "classify", "question", "prompts", "image", "parsing", "schema", "scoring", "clip", "errors"]
ALONE = {"onnxruntime": "clip", "PIL": "image", "os": "main"}


def imported(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_imports_go_one_way_and_heavy_libraries_stay_in_their_module(module: Path) -> None:
    names = imported(module)
    roots = {name.partition(".")[0] for name in names}
    assert not roots & {"torch", "open_clip", "onnx", "aws_cdk", "stacks"}
    for library, owner in ALONE.items():
        assert library not in roots or module.stem == owner
    for name in names:
        if name.startswith("classifier."):
            assert ORDER.index(name.split(".")[1]) > ORDER.index(module.stem)


def test_the_stack_knows_the_package_as_a_path_and_checks_settings_before_the_cdk_starts() -> None:
    root = PACKAGE.parent.parent
    for module in (root / "app.py", *(root / "stacks").glob("*.py")):
        roots = {name.partition(".")[0] for name in imported(module)}
        assert not roots & {"classifier", "tools", "examples", "tests", "torch", "onnxruntime"}, module
        assert module.stem not in ("settings", "bundle") or not roots & {"aws_cdk", "constructs"}


def test_the_handler_runs_where_torch_cannot_be_imported() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'open_clip', 'onnx', 'aws_cdk', 'huggingface_hub')))\n"
        "from pathlib import Path; from classifier.main import build; build(Path('models/demo'), threads=1)"
    )
    root, path = PACKAGE.parent.parent, {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
