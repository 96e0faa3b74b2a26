"""The image as it is deployed: built by the real Dockerfile on a strict base, run in a sandbox like
Lambda's, looked into, weighed.
"""

import base64
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import requests
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from classifier.contract.bundle import FILES, MANIFEST
from tests.support.base_image import BASE, COMMANDS
from tests.support.container import (
    BUILDAH,
    PODMAN,
    STAND_IN,
    build,
    composed,
    image,
    inside,
    invoke,
    mounted,
    run,
    running,
    stand_in,
)
from tests.support.emulator import free_port
from tests.support.requests import DEMO, ROOT
from tools.local.demo import SAMPLES

# The true architecture with random weights, in 8 bits; make test-image makes it.
VIT_B_32 = ROOT / "build" / "ViT-B-32-random"
AARCH64 = 183  # e_machine in the ELF header
MB = 1_000_000
# What the sandbox refuses, each with the system's own words.
FORBIDDEN = """import multiprocessing, pathlib, socket
for attempt in (
    lambda: pathlib.Path("/var/task/x").touch(),
    lambda: pathlib.Path("/dev/shm/x").touch(),
    lambda: socket.create_connection(("192.0.2.1", 80), 3),
    lambda: multiprocessing.Lock(),
    lambda: pathlib.Path("/sys/devices/system/cpu/online").read_text(),
):
    try:
        attempt()
        print("done")
    except OSError as err:
        print(err.strerror)"""
# What a process of the same user learns of the function's own.
ENVIRONMENT = """import pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    line = (process / "cmdline").read_bytes()
    if b"bootstrap.py" in line and b"aws-lambda-rie" not in line:
        try:
            print((process / "environ").read_bytes())
        except OSError as err:
            print(err.strerror)"""


def event(picture: Path, labels: list[str]) -> str:
    body = json.dumps(
        {"image_data": base64.b64encode(picture.read_bytes()).decode(), "labels": labels}
    )
    return json.dumps(
        {
            "httpMethod": "POST",
            "resource": "/",
            "headers": {"Content-Type": "application/json"},
            "body": body,
        }
    )


def ask(container: str, picture: Path, labels: list[str]) -> dict[str, float]:
    answer: dict[str, Any] = json.loads(invoke(container, event(picture, labels)))
    assert answer.get("statusCode") == 200, answer
    result: dict[str, float] = json.loads(answer["body"])["result"]
    return result


def test_the_stand_in_holds_only_what_aws_is_known_to_hold() -> None:
    stand_in()
    for architecture in ("x86_64", "arm64"):
        with mounted(f"{STAND_IN}:{architecture}") as root:
            programs = {
                path.relative_to(root).as_posix()
                for path in root.rglob("*")
                if path.is_file()
                and path.stat().st_mode & 0o111
                and ".so" not in path.name
                and not path.is_relative_to(root / "var/lang/lib")
            }
            allowed = {f"usr/bin/{command}" for command in COMMANDS} | {
                f"var/lang/bin/{name}" for name in ("python", "python3", "python3.13", "pip3")
            }
            allowed |= {
                "usr/local/bin/aws-lambda-rie",
                "lambda-entrypoint.sh",
                "var/runtime/bootstrap",
                "var/runtime/bootstrap.py",
            }
            assert programs <= allowed
            assert {"usr/bin/bash", "usr/bin/ls", "var/lang/bin/python3"} <= programs


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("find . -type d -name tests -prune -exec rm -r {} +", "find"),
        (
            (
                "tar --version || which ls || ps || gzip --help || perl -v || apt-get --version ||"
                " dpkg -l || xargs true"
            ),
            "xargs",
        ),
        ("/usr/bin/python3 --version", "/usr/bin/python3"),
        ("ls / && python3 -m pip --version && pip3 --version", None),
    ],
)
def test_a_dockerfile_that_runs_what_aws_does_not_have_fails(
    tmp_path: Path, command: str, missing: str | None
) -> None:
    stand_in()
    (tmp_path / "Dockerfile").write_text(f"ARG BASE_IMAGE\nFROM $BASE_IMAGE\nRUN {command}\n")
    result = build(
        "localhost/refused",
        tmp_path / "Dockerfile",
        tmp_path,
        "x86_64",
        {"BASE_IMAGE": f"{STAND_IN}:x86_64"},
    )
    if missing is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode
        assert (
            f"{missing}: command not found" in result.stderr
            or f"{missing}: No such file or directory" in result.stderr
        )


@pytest.mark.parametrize("bundle", [DEMO, VIT_B_32], ids=lambda path: path.name)
def test_the_image_answers_in_a_sandbox_like_lambdas(bundle: Path) -> None:
    with running(image("x86_64", bundle)) as container:
        for name, labels in SAMPLES.items():
            result = ask(container, ROOT / "examples" / "images" / name, labels)
            assert list(result) == labels
            assert bundle != DEMO or max(result, key=result.__getitem__) == labels[0]
        # For a semaphore without /dev/shm AWS's older glibc says "Function not implemented".
        missing = "No such file or directory"
        assert inside(container, FORBIDDEN).splitlines() == [
            "Read-only file system",
            missing,
            "Network is unreachable",
            missing,
            missing,
        ]
        limit = (
            "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat"
            " /sys/fs/cgroup/memory/memory.limit_in_bytes"
        )
        assert run(
            *PODMAN, "exec", container, "sh", "-c", f"id -u; ulimit -n; {limit}"
        ).split() == [
            "993",
            "1024",
            str(2 * 2**30),
        ]


def open_files(container: str) -> int:
    """How many the function's process has, as root sees it; no other process may look."""
    processes = run(*PODMAN, "top", container, "hpid", "args").splitlines()
    (process,) = (line.split()[0] for line in processes if "bootstrap.py" in line)
    return len(list(Path("/proc", process, "fd").iterdir()))


def test_every_request_is_one_line_of_json_in_the_log_and_leaves_no_descriptor_open() -> None:
    name, labels = next(iter(SAMPLES.items()))
    with running(image("x86_64", DEMO)) as container:
        ask(container, ROOT / "examples" / "images" / name, labels)
        before = open_files(container)
        for _ in range(10):
            ask(container, ROOT / "examples" / "images" / name, labels)
            invoke(container, json.dumps({"image_data": "", "labels": labels}))
        assert open_files(container) == before > 0
        assert inside(container, ENVIRONMENT) == "Permission denied"
        lines = [
            line
            for line in run(*PODMAN, "logs", container).splitlines()
            if '"message": "request"' in line
        ]
    requests = [json.loads(line) for line in lines]
    assert [request["status"] for request in requests] == [200] + [200, 400] * 10
    assert [request["start"] for request in requests] == ["cold"] + ["warm"] * 20
    assert all(request["level"] == "INFO" and request["requestId"] for request in requests)
    assert not [line for line in lines for label in labels if label in line]


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


def test_compose_serves_the_image_to_this_machine_alone() -> None:
    port = free_port()
    with composed(image("x86_64", DEMO), PORT=str(port), API_KEY="secret") as container:
        deadline = time.monotonic() + 180
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/openapi.json", timeout=30).raise_for_status()
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, run(*PODMAN, "logs", container)
                time.sleep(0.5)
        picture = (ROOT / "examples/images/dog.jpg").read_bytes()
        url = f"http://127.0.0.1:{port}/?labels=a+dog&labels=a+pizza"
        without, with_key = (
            requests.post(
                url, data=picture, headers={"Content-Type": "image/jpeg"} | key, timeout=60
            )
            for key in ({}, {"x-api-key": "secret"})
        )
        assert without.status_code == 403
        assert (with_key.status_code, list(with_key.json()["result"])) == (
            200,
            ["a dog", "a pizza"],
        ), with_key.text
        assert run(*PODMAN, "port", container) == f"8000/tcp -> 127.0.0.1:{port}"
        assert "Read-only file system" in run(
            *PODMAN, "exec", container, "bash", "-c", "touch /var/task/x 2>&1 || true"
        )


def test_our_layers_are_light_and_what_changes_most_comes_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    history = json.loads(run(*PODMAN, "history", "--format", "json", image("x86_64", VIT_B_32)))
    sizes = [layer["size"] for layer in history if "COPY" in layer["CreatedBy"]]
    weights = dict(zip(("package", "classifiers", "bundle", "requirements"), sizes, strict=True))
    with capsys.disabled():
        print(
            "\nLayers on top of AWS's base:",
            ", ".join(f"{name} {size / MB:.1f} MB" for name, size in weights.items()),
        )
    assert weights["package"] < 1 * MB
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
