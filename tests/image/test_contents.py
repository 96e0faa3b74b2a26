import json
from collections import defaultdict
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from classifier.contract.bundle import FILES, MANIFEST
from tests.support.base_image import BASE
from tests.support.container import PODMAN, needs_podman
from tests.support.image_store import BUILDAH, BUILDER, build, image, mounted
from tests.support.machine import run
from tests.support.requests import DEMO, ROOT

# The true architecture with random weights, in 8 bits; make test-image makes it.
VIT_B_32 = ROOT / "build" / "ViT-B-32-random"


AARCH64 = 183  # e_machine in the ELF header


MB = 1_000_000


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_every_shared_object_runs_on_the_libraries_of_the_base_image(
    architecture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    provided = {library for libraries in BASE["libraries"].values() for library in libraries}
    newest: dict[str, tuple[int, ...]] = defaultdict(tuple)
    with mounted(image(architecture, DEMO)) as root:
        objects = [path for path in (root / "var/task").rglob("*.so*") if path.is_file()]
        shipped = {path.name for path in objects}
        assert len(objects) > 50
        for path in objects:
            with path.open("rb") as file:
                for section in ELFFile(file).iter_sections():
                    if isinstance(section, DynamicSection):
                        needed = {
                            str(vars(tag)["needed"]) for tag in section.iter_tags("DT_NEEDED")
                        }
                        assert needed <= provided | shipped, (
                            f"{path} needs {needed - provided - shipped}"
                        )
                    if isinstance(section, GNUVerNeedSection):
                        for library, versions in section.iter_versions():
                            for version in versions if library.name in provided else ():
                                family, _, number = version.name.rpartition("_")
                                newest[family] = max(
                                    newest[family], tuple(map(int, number.split(".")))
                                )
    with capsys.disabled():
        print(
            f"\n{architecture} needs at most",
            ", ".join(f"{name}_{'.'.join(map(str, number))}" for name, number in newest.items()),
        )
    assert {"GLIBC", "GLIBCXX", "CXXABI"} <= newest.keys() <= BASE["versions"].keys()
    for family, version_number in newest.items():
        assert version_number <= tuple(map(int, BASE["versions"][family].split("."))), (
            f"{family}_{version_number} is newer than AWS's {BASE['versions'][family]}"
        )


def test_our_layers_are_light_and_what_changes_most_comes_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    needs_podman()
    history = json.loads(run(*PODMAN, "history", "--format", "json", image("x86_64", VIT_B_32)))
    sizes = [layer["size"] for layer in history if "COPY" in layer["CreatedBy"]]
    weights = dict(zip(("package", "classifiers", "bundle", "requirements"), sizes, strict=True))
    with capsys.disabled():
        print(
            "\nLayers on top of AWS's base:",
            ", ".join(f"{name} {size / MB:.1f} MB" for name, size in weights.items()),
        )
    # 1.23 MB with tokenizers of every kind, each module compiled.
    assert weights["package"] < 1.25 * MB
    assert weights["requirements"] <= 200 * MB
    assert sum(sizes) <= 450 * MB


def files(task: Path) -> set[str]:
    return {path.relative_to(task).as_posix() for path in task.rglob("*") if path.is_file()}


def test_the_image_holds_the_package_compiled_its_requirements_and_one_bundle() -> None:
    with mounted(image("x86_64", DEMO)) as root:
        task = root / "var/task"
        held = files(task)
        tops = {name.partition("/")[0] for name in held}
        assert {name for name in held if name.startswith("bundle/")} == {
            f"bundle/{name}" for name in (MANIFEST, *FILES)
        }
        assert {Path(name).suffix for name in held if name.startswith("classifier/")} <= {
            ".py",
            ".pyc",
            ".html",
            ".json",
        }
        assert not tops & {"torch", "open_clip", "onnx", *BASE["python"]["packages"]}
        # Only with heic=true: it holds x265, which is under the GPL.
        assert not [name for name in held if "heif" in name]
        assert not [name for name in held if "/tests/" in name]
        compiled = {
            name.replace("__pycache__/", "").replace(".cpython-313.pyc", ".py")
            for name in held
            if name.endswith(".pyc")
        }
        assert compiled == {name for name in held if name.endswith(".py")}
        for cache in task.rglob("*.pyc"):
            assert cache.read_bytes()[4:8] == (1).to_bytes(4, "little"), (
                f"{cache} is checked against times or sources"
            )
        assert not (root / "build").exists()


def test_for_arm64_every_shared_object_is_aarch64_and_nothing_else_differs() -> None:
    name = image("arm64", DEMO)
    assert (
        json.loads(run(*BUILDAH, "inspect", "--type", "image", name))["OCIv1"]["architecture"]
        == "arm64"
    )
    with mounted(name) as root, mounted(image("x86_64", DEMO)) as intel:
        task = root / "var/task"
        objects = {
            path: path.read_bytes()[:20]
            for path in task.rglob("*")
            if path.is_file() and ".so" in path.name
        }
        assert len(objects) > 50
        for path, header in objects.items():
            assert (
                header[:4] == b"\x7fELF" and int.from_bytes(header[18:20], "little") == AARCH64
            ), path
        assert not [path for path in task.rglob("*.so*") if path not in objects]
        sources = {
            name
            for name in files(task)
            if name.endswith((".py", ".onnx", ".weights", ".bin", ".json"))
        }
        assert sources == {
            name
            for name in files(intel / "var/task")
            if name.endswith((".py", ".onnx", ".weights", ".bin", ".json"))
        }


def test_an_image_with_another_processors_programs_is_not_built() -> None:
    """As a builder makes it that takes the base of its own machine for the target's."""
    image("arm64", DEMO)
    dockerfile = ROOT / "lambdas" / "classifier" / "Dockerfile"
    arguments = {"BUNDLE": "models/demo", "BASE_IMAGE": f"{BUILDER}:arm64"}
    done = build("localhost/wrong", dockerfile, ROOT, "arm64", arguments)
    assert done.returncode
    assert "/build/base-python is not for arm64" in done.stderr
