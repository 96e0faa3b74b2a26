import re

import pytest

from tests.support.programs import exit_status, run_python
from tests.support.requests import ROOT
from tools.local.demo import main


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_demo_names_the_right_label_for_each_sample() -> None:
    done = run_python("-m", "tools.local.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it says nothing about photographs" in done.stdout
    assert "make model\n  make demo BUNDLE=models/ViT-B-32-quickgelu-openai" in done.stdout


def test_the_demo_classifies_an_image_of_your_own_after_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--image", "examples/images/dog.jpg", "--labels", "a dog, a teapot"]
    assert exit_status(main, *arguments) == 0
    out, err = capsys.readouterr()
    assert "nothing about photographs" in err
    assert out.index("make model\n") < out.index("a teapot") < out.index("labels in English")


def test_an_image_without_labels_is_told_how_to_get_a_model_that_knows_photographs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = exit_status(main, "--image", "photo.jpg")
    assert message.endswith('make demo IMAGE=photo.jpg LABELS="a dog,a cat,something else"')
    out, err = capsys.readouterr()
    assert "nothing about photographs" in err
    assert "  make model\n" in out


def test_the_demos_times_are_those_of_labels_that_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_status(main) == 0
    times = re.findall(r", text ([\d.]+) ms\)", capsys.readouterr().out)
    assert len(times) == 3
    # A label's first time takes milliseconds; a busy machine may hold up one image.
    assert sorted(map(float, times))[1] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "none.jpg", "--labels", "a"], "none.jpg can't be read"),
        (["--image", "README.md", "--labels", "a"], "The image is none of JPEG"),
        (["--image", "examples/images/dog.jpg"], "give both"),
        (
            ["--bundle", "models/ViT-L-14-openai"],
            "models/ViT-L-14-openai holds no bundle. Make it: make model MODEL=ViT-L-14"
            " PRETRAINED=openai",
        ),
        (
            ["--bundle", "none"],
            "is made in models/MODEL-PRETRAINED by: make model MODEL=… PRETRAINED=…",
        ),
        (
            ["--image", "https://example.org/a.jpg?b=1&c=2", "--labels", "a,b"],
            "curl -o image.jpg 'https://example.org/a.jpg?b=1&c=2'",
        ),
    ],
)
def test_the_demo_explains_a_wrong_command_line(arguments: list[str], message: str) -> None:
    assert message in exit_status(main, *arguments)
