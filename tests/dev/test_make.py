"""The Makefile hands on what a user fills in as it was written."""

import os
import shlex
import subprocess

import pytest

from tests.support.requests import ROOT

VALUES = [
    "a $5 bill",
    "$(id) `id` ${HOME}",
    'it\'s "a dog"',
    "C:\\new\\table",
    "café, 狗",
    "a  b #1",
]
GIVEN = {
    "demo": ("BUNDLE", "IMAGE", "LABELS"),
    "serve": ("PORT", "BUNDLE"),
    "classify": ("PICTURES", "LABELS", "CLASSIFIER", "EXCLUDE", "BUNDLE", "REQUEST", "OUTPUT"),
    "evaluate": ("PICTURES", "LABELS", "CLASSIFIER", "EXCLUDE", "BUNDLE"),
    "learn": ("PICTURES", "LABELS", "CLASSIFIER", "EXCLUDE", "BUNDLE"),
    "model": ("PICTURES", "LABELS", "PRETRAINED_CFG", "REVISION", "ACCEPT_LICENCE", "TARGET"),
    "pack": ("BUNDLE", "OUTPUT"),
    "fetch-bundle": ("FROM", "NAME"),
    "upload-events": ("BUCKET",),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("target", GIVEN)
def test_every_variable_arrives_as_it_was_written(target: str, value: str) -> None:
    sent = {name: f"{name.lower()} {value}" for name in GIVEN[target]}
    environment = {name: text for name, text in os.environ.items() if name != "MAKEFLAGS"}
    done = subprocess.run(
        ["make", "-n", target, *(f"{name}={text}" for name, text in sent.items())],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout.replace("\\\n", ""), comments=False)
    assert [text for text in sent.values() if text not in words] == []
