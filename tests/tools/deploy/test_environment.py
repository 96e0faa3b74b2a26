import shutil
import stat
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from tests.support.requests import ROOT


def python(folder: Path, name: str, version: tuple[int, int] | None) -> None:
    """A Python of that version; None: one that a version manager lists but can't run."""
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])" if version else ""
    script = (
        f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$2"\n'
        if version
        else "#!/bin/sh\nexit 127\n"
    )
    (folder / name).write_text(script, encoding="utf-8")
    (folder / name).chmod(stat.S_IRWXU)


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"python3.11": (3, 11), "python3.13": (3, 13), "python3": (3, 13)}, "python3.11"),
        ({"python3.11": None, "python3.13": (3, 13), "python3": (3, 13)}, "python3.13"),
        ({"python3.14": (3, 14), "python3": (3, 9)}, "python3.14"),
        ({"python3": (3, 15)}, "python3"),
        ({"python3": (3, 9)}, ""),
        ({}, ""),
    ],
)
def test_the_environment_is_made_with_the_first_python_that_is_new_enough(
    tmp_path: Path, installed: dict[str, tuple[int, int] | None], chosen: str
) -> None:
    for name in ("sh", "sed", "make"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    for name, version in installed.items():
        python(tmp_path, name, version)
    assert variable("PYTHON", tmp_path, VENV="none") == chosen
    if not chosen:
        command = ["make", "--silent", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/serves"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (
            "Python 3.11 or newer is needed. Install it, or name yours: make setup"
            " PYTHON=/path/to/python3" in done.stdout
        )


def variable(name: str, path: Path, **variables: str) -> str:
    """make's value of a variable, if only the programs of one folder can be found."""
    command = [
        "make",
        "--no-print-directory",
        "-f",
        "Makefile",
        "-f",
        "-",
        *(f"{key}={value}" for key, value in variables.items()),
        "shown",
    ]
    rule = f"shown: ; $(info $({name}))\n\t@:\n"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": str(path)},
        input=rule,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[0]


def test_after_the_environment_is_made_only_its_python_is_used(tmp_path: Path) -> None:
    """With neither python3.11 nor any other Python on PATH."""
    for name in ("sh", "sed", "make"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    assert variable("PYTHON", tmp_path) == ".venv/bin/python"
    assert variable("DEPLOYED", tmp_path) == "models/ViT-B-32-quickgelu-openai"


def test_no_checkout_changes_a_byte_of_what_is_hashed(tmp_path: Path) -> None:
    """As on Windows, where git writes carriage returns unless the repository says otherwise."""
    files = [
        path
        for folder in ("lambdas/classifier", "models/demo")
        for path in (ROOT / folder).iterdir()
        if path.is_file()
    ]
    for file in [ROOT / ".gitattributes", *files]:
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "core.autocrlf=true",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
    ]
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["commit", "-qm", "all"],
        ["rm", "-rq", "lambdas", "models"],
        ["checkout", "HEAD", "--", "."],
    ):
        subprocess.run([*git, *command], check=True, capture_output=True)
    assert [
        file
        for file in files
        if (tmp_path / file.relative_to(ROOT)).read_bytes() != file.read_bytes()
    ] == []


# The kernel's own words, as `uname -v` has them; Darwin 22 is macOS 13, and 23 is macOS 14.
LINUX = (
    "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)",
    "#1 SMP Tue Nov 5 00:21:55 UTC 2024",
    "",
)


DARWIN = "Darwin Kernel Version {}: Wed Jul 5 22:22:05 PDT 2023; root:xnu-8796.141.3~6/RELEASE_{}"


MACHINES = [
    *(("linux", machine, words, "1.32.0") for machine in ("x86_64", "aarch64") for words in LINUX),
    *(
        ("darwin", "x86_64", DARWIN.format(kernel, "X86_64"), "1.23.2")
        for kernel in ("22.6.0", "23.6.0", "24.1.0")
    ),
    *(
        ("darwin", "arm64", DARWIN.format(kernel, "ARM64_T6000"), "1.32.0")
        for kernel in ("23.0.0", "24.1.0", "25.22.0")
    ),
    ("darwin", "arm64", DARWIN.format("22.6.0", "ARM64_T6000"), "1.23.2"),
]


@pytest.mark.parametrize(("system", "machine", "words", "release"), MACHINES)
def test_each_machine_gets_the_last_onnxruntime_made_for_it(
    system: str, machine: str, words: str, release: str
) -> None:
    """Not by platform_release: pip 24.1 to 25 fail on a Linux kernel's name, which is no version,
    wherever a marker compares it.
    """
    from packaging.requirements import Requirement

    lines = (
        (ROOT / "lambdas" / "classifier" / "requirements.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    requirements = [Requirement(line) for line in lines if line.startswith("onnxruntime")]
    environment = {"sys_platform": system, "platform_machine": machine, "platform_version": words}
    chosen = [
        str(entry.specifier)
        for entry in requirements
        if not entry.marker or entry.marker.evaluate(environment)
    ]
    assert chosen == [f"=={release}"]


def test_what_deploying_installs_is_pinned_to_the_last_package_and_no_more() -> None:
    """It is installed without looking for anything else, so that it works in a year."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    def listed(path: str) -> set[str]:
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        return {
            canonicalize_name(Requirement(line).name)
            for line in lines
            if line and not line.startswith("#")
        }

    own = listed("requirements.txt")
    others = listed("lambdas/classifier/requirements.txt") | listed("tools/requirements.txt")
    needed: set[str] = set()
    for name in own:
        found = map(Requirement, requires(name) or [])
        needed |= {
            canonicalize_name(requirement.name)
            for requirement in found
            if not requirement.marker or requirement.marker.evaluate({"extra": ""})
        }
    assert needed <= own | others
    direct = {"aws-cdk-lib", "constructs", "pydantic", "regex", "ftfy", "botocore", "awscrt"}
    assert own <= needed | direct
