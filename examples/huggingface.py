"""Calls the endpoint with Hugging Face's own client, for code that already uses it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

import client

SAMPLE = Path(__file__).parent / "images" / "dog.jpg"


def main(argv: Sequence[str] | None = None) -> None:
    parser = client.argument_parser(__doc__)
    parser.add_argument("--image", type=Path, default=SAMPLE)
    parser.add_argument(
        "--labels",
        type=client.split_labels,
        default=["dog", "cat", "pizza"],
        help='separated by commas: "dog,cat"',
    )
    parser.add_argument("--template", help='with one {}; default: "This is a photo of {}."')
    arguments = parser.parse_args(argv)
    client.note_single(arguments.labels)
    # Any token will do: without one the client would send this endpoint the token that `hf auth
    # login` saved.
    headers = {"x-api-key": arguments.api_key} if arguments.api_key else {}
    inference = InferenceClient(
        model=arguments.endpoint,
        headers=headers,
        token="unused",  # noqa: S106, the client wants one
        timeout=60,
    )
    try:
        scores = inference.zero_shot_image_classification(
            arguments.image, arguments.labels, hypothesis_template=arguments.template
        )
    except HfHubHTTPError as err:
        sys.exit(client.error_message(err.response.status_code, err.response.text))
    except HTTPError as err:
        sys.exit(f"{arguments.endpoint} can't be reached: {err}")
    except OSError as err:
        sys.exit(f"{arguments.image} can't be read: {err.strerror}")
    except ValueError as err:
        sys.exit(str(err))
    for element in scores:
        print(f"{element.score:7.2%}  {element.label}")


if __name__ == "__main__":
    main()
