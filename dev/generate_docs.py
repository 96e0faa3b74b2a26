"""Writes what the docs say from what the code does: `make document`.

lambdas/classifier/api/openapi.json, docs/classifier.schema.json and the tables in docs/
come from the models, the answers below the commands in README.md and docs/api.md from the demo
model. docs/models.svg shows the table of models.
"""

import json
import os
import re
import subprocess
from pathlib import Path

from dev.benchmark import charts
from dev.model_chart import model_chart
from dev.openapi import document
from dev.sample_calls import DEMO
from dev.schemas import classifier_schema
from dev.tables import with_tables
from tools.local.serve import load, running

DOCUMENT = Path("lambdas/classifier/api/openapi.json")
README = Path("README.md")
API = Path("docs/api.md")
CLASSIFIERS = Path("docs/classifiers.md")
MODELS = Path("docs/models.md")
MODELS_CHART = Path("docs/models.svg")
CLASSIFIER_SCHEMA = Path("docs/classifier.schema.json")
# A command, and its answer below it.
COMMAND = re.compile(r"```sh\n((?:(?!```).)*?)```\n\n```(json|text)\n(.*?)\n```\n", re.S)


def with_answers(text: str, url: str) -> str:
    """The text with, below each command that has an answer, what it prints; $URL is the API at
    `url`.
    """

    def answered(match: re.Match[str]) -> str:
        run = subprocess.run(
            ["bash", "-ec", match[1]],
            env=os.environ | {"URL": url},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return f"```sh\n{match[1]}```\n\n```{match[2]}\n{run.stdout.strip()}\n```\n"

    return COMMAND.sub(answered, text)


def main() -> None:
    DOCUMENT.write_text(
        # Without indentation it is a quarter smaller and still has lines.
        json.dumps(document(), indent=0, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    CLASSIFIER_SCHEMA.write_text(
        json.dumps(classifier_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    charts.save(model_chart(), MODELS_CHART)
    with running(load(DEMO)) as url:
        for path in (README, API, CLASSIFIERS, MODELS):
            path.write_text(
                with_answers(with_tables(path.read_text(encoding="utf-8")), url), encoding="utf-8"
            )


if __name__ == "__main__":
    main()
