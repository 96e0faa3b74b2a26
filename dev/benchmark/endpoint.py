"""Measures a deployed endpoint: `make benchmark-endpoint URL=… KEY=…`. It sends some 200 requests,
which cost what they cost.

With FUNCTION=… it measures cold starts instead: a changed environment variable makes Lambda start
new environments.
"""

import argparse
import base64
import itertools
import json
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.deploy.aws import AwsError, aws

# https://aws.amazon.com/lambda/pricing/ and https://aws.amazon.com/api-gateway/pricing/, us-east-1:
# US dollars a GB-second (arm64), a request, and a call of a REST API (first 333 million a month).
PRICES: dict[str, float] = json.loads(Path("examples/prices.json").read_bytes())
COUNTS = (1, 5, 9)
COLD_STARTS = 10
BINS = 8
BAR = 40
VARIABLE = "COLD_START"
IMAGE = Path("examples/images/dog.jpg")
# What a call takes outside the stages of Server-Timing, in milliseconds: `outside_encoders_ms` of
# `make benchmark` less decoding.
OUTSIDE_MS = 2.0


def cost_per_1000(milliseconds: float, memory: int) -> float:
    """US dollars for 1,000 calls, by the billed milliseconds of one and the function's MB."""
    compute = milliseconds / 1000 * memory / 1024 * PRICES["gb_second"]
    return 1000 * (compute + PRICES["lambda_request"] + PRICES["api_call"])


class Endpoint:
    """Asks, and keeps what went wrong by status."""

    def __init__(self, url: str, key: str, image: Path) -> None:
        self._url = url
        self._key = key
        self._image = base64.b64encode(image.read_bytes()).decode()
        self.errors = Counter[str]()

    def ask(self, labels: Sequence[str]) -> tuple[float, dict[str, float]] | None:
        """Milliseconds to the whole answer and the stages in it; None for an error."""
        body = json.dumps({"image_data": self._image, "labels": labels}).encode()
        headers = {"Content-Type": "application/json", "x-api-key": self._key}
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self._url, body, headers), timeout=60
            ) as answer:
                answer.read()
                timing = answer.headers.get("Server-Timing", "")
        except urllib.error.HTTPError as err:
            self.errors[str(err.code)] += 1
            return None
        except OSError as err:
            self.errors[type(err).__name__] += 1
            return None
        spent = (time.perf_counter() - began) * 1000
        stages = dict(part.strip().split(";dur=") for part in timing.split(",") if ";dur=" in part)
        return spent, {name: float(value) for name, value in stages.items()}


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(
    url: str, key: str, calls: int, memory: int, image: Path = IMAGE
) -> dict[str, float | str]:
    """Figures by name with their units. Exits if nothing answers."""
    endpoint = Endpoint(url, key, image)
    words = itertools.count(int(time.time()))
    figures = dict[str, float | str]()
    first = endpoint.ask(["a dog"])
    if first is None:
        sys.exit(
            f"{url} gave no answer but {', '.join(endpoint.errors)}: check URL and KEY, both"
            " outputs of the deployment."
        )
    # The first call is a cold one if nobody called for a while.
    figures["first_call_ms"] = round(first[0], 1)
    for kind, count in itertools.product(("seen", "new"), COUNTS):
        answers = []
        for _ in range(calls):
            labels = [f"thing number {i if kind == 'seen' else next(words)}" for i in range(count)]
            if answer := endpoint.ask(labels):
                answers.append(answer)
        if not answers:
            continue
        name = f"{kind}_{count}_labels"
        spent = [one for one, _ in answers]
        for title, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            figures[f"{name}_{title}_ms"] = round(percentile(spent, share), 1)
        for stage in ("decode", "image", "text"):
            figures[f"{name}_{stage}_p50_ms"] = percentile(
                [stages.get(stage, 0.0) for _, stages in answers], 0.5
            )
        billed = percentile([sum(stages.values()) for _, stages in answers], 0.5) + OUTSIDE_MS
        figures[f"{name}_estimated_cost_per_1000_images_usd"] = round(
            cost_per_1000(billed, memory), 5
        )
        print(f"{name}: median {figures[f'{name}_p50_ms']} ms", file=sys.stderr, flush=True)
    return figures | {f"errors_{status}": number for status, number in endpoint.errors.items()}


def measure_cold_starts(url: str, key: str, function: str, count: int) -> list[float]:
    """Milliseconds of the first call after each of `count` changes of the function's environment,
    which is then put back as it was.

    Raises AwsError. Exits if calls wouldn't reach new environments, or get no answer.
    """
    named = ("--function-name", function)
    kept = aws(
        "lambda",
        "list-provisioned-concurrency-configs",
        *named,
        "--query",
        "ProvisionedConcurrencyConfigs[].Status",
        "--output",
        "text",
    )
    if kept:
        sys.exit(
            f"{function} has provisioned concurrency: calls go to a version whose environments are"
            " kept warm."
        )
    query = ("--query", "Environment.Variables", "--output", "json")
    before: dict[str, str] = (
        json.loads(aws("lambda", "get-function-configuration", *named, *query) or "null") or {}
    )

    def change(variables: dict[str, str]) -> None:
        aws(
            "lambda",
            "update-function-configuration",
            *named,
            "--environment",
            json.dumps({"Variables": variables}),
            "--query",
            "Version",
        )
        aws("lambda", "wait", "function-updated", *named)

    endpoint = Endpoint(url, key, IMAGE)
    spent = list[float]()
    try:
        for i in range(count):
            change(before | {VARIABLE: str(i)})
            answer = endpoint.ask(["a dog", "a cat"])
            if answer is None:
                sys.exit(
                    f"{url} gave no answer but {', '.join(endpoint.errors)}: check URL and KEY,"
                    " both outputs of the deployment."
                )
            spent.append(answer[0])
            print(f"{i + 1} of {count}: {answer[0]:.0f} ms", file=sys.stderr, flush=True)
    finally:
        change(before)
    return spent


def histogram(values: Sequence[float]) -> str:
    """A line for each of equal steps from the least to the largest value."""
    least = min(values)
    step = (max(values) - min(values)) / BINS or 1.0
    counts = Counter(min(BINS - 1, int((value - least) / step)) for value in values)
    return "\n".join(
        f"{least + i * step:6.0f} to {least + (i + 1) * step:6.0f} ms  {counts[i]:3} "
        f" {'█' * round(BAR * counts[i] / max(counts.values()))}"
        for i in range(BINS)
    )


def main(ask: Callable[[str], str] = input) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--calls", type=int, default=30, help="calls for each number of labels")
    parser.add_argument(
        "--memory", type=int, default=3008, help="the function's MB, for the estimated cost"
    )
    parser.add_argument("--function", help="the function's name, to measure cold starts")
    parser.add_argument("--cold-starts", type=int, default=COLD_STARTS)
    arguments = parser.parse_args()
    if not arguments.url.startswith(("http://", "https://")):
        sys.exit(
            f"{arguments.url!r} is no URL; name the endpoint: make benchmark-endpoint URL=https://…"
            " KEY=…"
        )
    if arguments.function:
        question = (
            f"This changes the variable {VARIABLE} of {arguments.function} {arguments.cold_starts}"
            " times and takes it away again. Calls "
        )
        question += "of others meanwhile meet cold starts too. Go on? [y/N] "
        if ask(question).strip().lower() not in ("y", "yes"):
            sys.exit("Nothing was changed.")
        try:
            spent = measure_cold_starts(
                arguments.url, arguments.key, arguments.function, arguments.cold_starts
            )
        except AwsError as err:
            sys.exit(str(err))
        print(
            f"first calls: median {percentile(spent, 0.5):.0f} ms, 90th percentile"
            f" {percentile(spent, 0.9):.0f} ms\n{histogram(spent)}"
        )
        return
    print(
        json.dumps(
            measure(arguments.url, arguments.key, arguments.calls, arguments.memory), indent=2
        )
    )


if __name__ == "__main__":
    main()
