"""Sorts an image into the categories of a deployed classifier, in one call, and says what it
decides.
"""

import sys
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import client

SAMPLE = Path(__file__).parent / "images" / "dog.jpg"


def main(argv: Sequence[str] | None = None, backoff: type[client.Backoff] = client.Backoff) -> None:
    parser = client.argument_parser(__doc__)
    parser.add_argument("--image", type=Path, default=SAMPLE)
    parser.add_argument("--classifier", default="moderation", help="its name; default: moderation")
    arguments = parser.parse_args(argv)
    try:
        data, _ = client.shrink(arguments.image.read_bytes())
    except OSError as err:
        sys.exit(f"{arguments.image} can't be read: {err.strerror}")
    body = {"image_data": b64encode(data).decode(), "classifier": arguments.classifier}
    answer, model = client.ask(
        client.open_session(arguments.api_key, backoff), arguments.endpoint, body, "result"
    )
    print(client.model_line(model))
    print("Category probabilities:")
    for category, share in sorted(answer["result"].items(), key=lambda item: -item[1]):
        print(f"  {category:<10}  {share:7.2%}")
    if "decision" not in answer:
        print(
            f"No decision: the classifier {arguments.classifier} has no thresholds."
            " docs/classifiers.md says how to set them."
        )
        return
    counted = ", ".join(entry["name"] for entry in answer["decision"]["labels"]) or "nothing"
    print(
        f"Decision: {answer['decision']['action'] or 'no action'} ({counted} reached a threshold)"
    )


if __name__ == "__main__":
    main()
