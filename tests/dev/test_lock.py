import re
from pathlib import Path

import pytest

from dev.lock import ARCHITECTURES, REQUIREMENTS, pins
from tests.support.requests import ROOT


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_lock_holds_each_requirement_of_the_image_with_a_hash(
    requirements: Path, architecture: str
) -> None:
    locked = dict(
        re.findall(
            r"^(\S+==\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$",
            (ROOT / requirements).with_suffix(".lock").read_text(),
            re.M,
        )
    )
    required = [
        f"{pin.name}{pin.specifier}"
        for pin in pins((ROOT / requirements).read_text(), architecture)
    ]
    assert [pin for pin in required if pin not in locked] == [], "run: make lock"
    assert len(locked[required[0]].split("--hash")) == 1 + len(ARCHITECTURES)


def test_a_pin_for_another_system_is_left_out() -> None:
    text = 'a==1; sys_platform == "darwin"\nb==2 # why\n# c==3\nd==4; sys_platform != "darwin"\n'
    assert [pin.name for pin in pins(text, "aarch64")] == ["b", "d"]
