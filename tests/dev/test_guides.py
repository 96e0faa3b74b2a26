"""The commands in the guides against the Makefile, and the workflows against what GitHub Actions
needs.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.makefile import takes
from tests.support.requests import ROOT

GUIDES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name / "README.md" for name in ("classifiers", "models/demo", "tests/image")),
]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.compile(
    "|".join(
        name.replace("%", "[a-z0-9]+")
        for names in re.findall(r"^([a-z0-9% -]+):", MAKEFILE, re.MULTILINE)
        for name in names.split()
    )
)
# Any command may be given these.
EVERYWHERE = {"PYTHON", "TORCH_INDEX"}
WORKFLOWS = {
    path: (ROOT / path).read_text(encoding="utf-8")
    for path in (
        "examples/github/deploy.yml",
        "examples/github/update-base.yml",
        ".github/workflows/ci.yml",
    )
}


def commands(text: str) -> list[str]:
    """What follows `make` in fenced blocks and in code within a sentence: targets, variables and no
    values.
    """
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    )
    lines = [
        line
        for code in [*fenced, *inline]
        for line in re.sub(r"\s# .*", "", code.replace("\\\n", " ")).splitlines()
    ]
    calls = [
        found for line in lines for found in re.findall(r"(?:^|[\s(:])make +([^#;&|)]+)", line)
    ]
    # A value may be in quotes and hold blanks, or an expression of GitHub's.
    return [re.sub(r'=("[^"]*"|\$\{\{.*?\}\}|[^\s]*)', "= ", call) for call in calls]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_command_of_a_guide_is_one_that_the_makefile_knows(guide: Path) -> None:
    for command in commands(guide.read_text(encoding="utf-8")):
        words = command.split()
        targets = [word for word in words if not word.endswith("=")]
        variables = {word[:-1] for word in words if word.endswith("=")} - EVERYWHERE
        assert all(map(TARGETS.fullmatch, targets)), f"make {command}"
        if variables and set(targets) <= takes().keys():
            assert variables <= set().union(*map(takes().__getitem__, targets)), f"make {command}"


def test_every_make_command_of_a_workflow_is_one_that_the_makefile_knows() -> None:
    for text in WORKFLOWS.values():
        for command in commands(f"```\n{text}\n```"):
            assert TARGETS.fullmatch(command.split()[0]), f"make {command}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_guide_links_to_is_there_for_whoever_clones(guide: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    kept = {*listed, *(parent.as_posix() for name in listed for parent in Path(name).parents)}
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", guide.read_text(encoding="utf-8")):
        if "://" not in link:
            path = os.path.relpath(guide.parent / link, ROOT)
            # An unpacked archive is no repository: what is there is all there is.
            assert path in kept if listed else (ROOT / path).exists(), (
                f"{guide.name} links to {link}"
            )


def anchors(guide: Path) -> set[str]:
    """The fragments that GitHub gives a guide's headings."""
    text = re.sub(r"^```.*?^```", "", guide.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_heading_that_a_guide_links_to_is_there(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    for link, heading in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
        page = guide.parent / link if link else guide
        if page.suffix == ".md":
            assert heading in anchors(page), f"{guide.name} links to {link}#{heading}"


def test_the_guides_commands_are_found() -> None:
    text = 'Run `make one X=1`:\n```\nmake two Y="a b" \\\n  Z=3   # make four\nmake three\n```\n'
    assert [command.split() for command in commands(text)] == [
        ["two", "Y=", "Z="],
        ["three"],
        ["one", "X="],
    ]
    assert sum(len(commands(guide.read_text(encoding="utf-8"))) for guide in GUIDES) > 50


def test_every_command_that_make_help_lists_is_in_a_guide() -> None:
    listed = re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE)
    assert len(listed) > 20
    named = {
        word
        for guide in GUIDES
        for command in commands(guide.read_text(encoding="utf-8"))
        for word in command.split()
    }
    assert set(listed) <= named


def test_every_variable_that_make_help_names_is_taken() -> None:
    for command, text in re.findall(r"^([a-z0-9-]+):.*## (.*)", MAKEFILE, re.MULTILINE):
        assert set(re.findall(r"\b([A-Z_]+)=", text)) <= takes()[command], command


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_what_github_needs(name: str) -> None:
    text = WORKFLOWS[name]
    # YAML 1.1 reads the key `on` as true.
    workflow: dict[Any, Any] = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert {"pull_request", "schedule"} & workflow[True].keys()
    for job in workflow["jobs"].values():
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
        assert job["timeout-minutes"] <= 120
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@(v\d+|[0-9a-f]{40})", step.get("uses", "a/b@v1"))
        ids = {step["id"] for step in job["steps"] if "id" in step}
        assert set(re.findall(r"steps\.(\w+)", str(job))) <= ids
        # Only what asks GitHub for a token may get one, and a pull request never does.
        asks = any("configure-aws-credentials" in step.get("uses", "") for step in job["steps"])
        assert (job.get("permissions", {}).get("id-token") == "write") == asks
        if asks:
            assert job["permissions"] == {"contents": "read", "id-token": "write"}
            assert job["if"] == "github.event_name != 'pull_request'"
            assert job["environment"] == "production"


def test_the_deployments_variables_are_those_that_the_guide_has_you_set() -> None:
    text = WORKFLOWS["examples/github/deploy.yml"]
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert set(re.findall(r"vars\.(\w+)", text)) == {"DEPLOY_ROLE", "BUNDLE_FROM", "BUNDLE_SHA256"}
    assert all(f"`{name}`" in guide for name in re.findall(r"vars\.(\w+)", text))
    assert "secrets." not in text


def test_the_check_of_a_pull_request_needs_no_bundle(tmp_path: Path) -> None:
    """With the environment that its job has, in a clone that holds the demo model alone."""
    workflow = yaml.safe_load(WORKFLOWS["examples/github/deploy.yml"])
    for name, job in workflow["jobs"].items():
        given = workflow.get("env", {}) | job.get("env", {})
        words = ["make", "--dry-run", "synth", f"DEPLOYED={tmp_path}"]
        environment = {"PATH": os.environ["PATH"], **given}
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert ("-c bundle=models/demo " in done.stdout) == (name == "check"), name


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_module_that_a_guide_names_is_there(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    dotted = [name.replace(".", "/") for name in re.findall(r"`(classifier(?:\.\w+)+)`", text)]
    for name in [*re.findall(r"`((?:[\w-]+/)*\w+\.py)`", text), *dotted]:
        places = (ROOT, ROOT / "lambdas", ROOT / "lambdas" / "classifier")
        paths = [place / name for place in places]
        assert any(
            path.is_file() or path.with_suffix(".py").is_file() or path.is_dir() for path in paths
        ), name
