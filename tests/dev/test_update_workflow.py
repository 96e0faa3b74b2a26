import os
import subprocess
from pathlib import Path

import yaml

from tests.support.requests import ROOT


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_new_base_image_becomes_a_pull_request_and_the_same_one_none(tmp_path: Path) -> None:
    """The workflow's own script, with a repository on this machine in GitHub's place."""
    workflow = yaml.safe_load((ROOT / "examples/github/update-base.yml").read_text())
    (job,) = workflow["jobs"].values()
    *_, update, propose = (step["run"] for step in job["steps"] if "run" in step)
    assert update == "make update-base"
    work = tmp_path / "work"
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "work")
    (work / "cdk.json").write_text("old")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message=first")
    git(work, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(work, "push", "--quiet", "origin", "main")
    (tmp_path / "gh").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n')
    (tmp_path / "gh").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def run() -> None:
        command = ["bash", "-e", "-c", propose]
        subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True)

    run()
    assert not (tmp_path / "calls").exists()
    (work / "cdk.json").write_text("new")
    run()
    assert (tmp_path / "calls").read_text() == "pr create --fill\n"
    assert git(work, "show", "origin/update-base:cdk.json") == "new"
    assert git(work, "show", "origin/main:cdk.json") == "old"
