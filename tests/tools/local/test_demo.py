import pytest

from tests.support.programs import run_python


def test_the_demo_names_the_right_label_for_each_sample() -> None:
    done = run_python("-m", "tools.local.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it says nothing about photographs" in done.stdout
    assert "make model\n  make demo BUNDLE=models/ViT-B-32-quickgelu-openai" in done.stdout


def test_the_demo_classifies_an_image_of_your_own_after_a_warning() -> None:
    done = run_python(
        "-m",
        "tools.local.demo",
        "--image",
        "examples/images/dog.jpg",
        "--labels",
        "a dog, a teapot",
    )
    assert done.returncode == 0, done.stderr
    real_model = done.stdout.index("make model\n")
    assert done.stdout.index("nothing about photographs") < real_model
    assert real_model < done.stdout.index("a teapot") < done.stdout.index("labels in English")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "none.jpg", "--labels", "a"], "none.jpg can't be read"),
        (["--image", "README.md", "--labels", "a"], "The image is none of JPEG"),
        (["--image", "examples/images/dog.jpg"], "give both"),
        (
            ["--image", "https://example.org/a.jpg?b=1&c=2", "--labels", "a,b"],
            "curl -o image.jpg 'https://example.org/a.jpg?b=1&c=2'",
        ),
    ],
)
def test_the_demo_explains_a_wrong_command_line(arguments: list[str], message: str) -> None:
    done = run_python("-m", "tools.local.demo", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
