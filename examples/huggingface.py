"""The endpoint through Hugging Face's own client, as code that already uses that client would call it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

import client

SAMPLE = Path(__file__).parent / "images" / "dog.jpg"


def main(words: Sequence[str] | None = None) -> None:
    parser = client.arguments(__doc__)
    parser.add_argument("--image", type=Path, default=SAMPLE)
    parser.add_argument("--labels", type=client.listed, default=["dog", "cat", "pizza"], help='separated by commas: "dog,cat"')
    parser.add_argument("--template", help='with one {}; default: "This is a photo of {}."')
    asked = parser.parse_args(words)
    # A token of any kind, or the client would send the one that `hf auth login` saved to this endpoint.
    headers = {"x-api-key": asked.api_key} if asked.api_key else {}
    inference = InferenceClient(model=asked.endpoint, headers=headers, token="unused", timeout=60)  # noqa: S106
    try:
        found = inference.zero_shot_image_classification(asked.image, asked.labels, hypothesis_template=asked.template)
    except HfHubHTTPError as err:
        sys.exit(client.refusal(err.response.status_code, err.response.text))
    except HTTPError as err:
        sys.exit(f"{asked.endpoint} can't be reached: {err}")
    except OSError as err:
        sys.exit(f"{asked.image} can't be read: {err.strerror}")
    except ValueError as err:
        sys.exit(str(err))
    for element in found:
        print(f"{element.score:7.2%}  {element.label}")


if __name__ == "__main__":
    main()
