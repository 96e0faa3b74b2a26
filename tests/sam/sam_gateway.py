"""SAM's local API Gateway for a template, without Docker: its events go to standard output, one a
line. Runs in SAM's environment.
"""

import logging
import sys
from typing import Any

from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
from samcli.local.apigw.local_apigw_service import LocalApigwService


class Recorder:
    """Replaces the part of SAM that would start the function in Docker."""

    def is_debugging(self) -> bool:
        return False

    def invoke(self, name: str, event: str, *_: Any, stdout: Any, **__: Any) -> None:
        print(event, flush=True)
        stdout.write_str('{"statusCode": 200, "body": "{}"}')


def main() -> None:
    template = sys.argv[1]
    port = int(sys.argv[2])
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    stacks, _ = SamLocalStackProvider.get_stacks(template)
    api = ApiProvider(stacks, cwd=".").api
    # SAM reads binary media types only from an API described in OpenAPI.
    for resource in stacks[0].resources.values():
        api.binary_media_types_set |= set(
            resource.get("Properties", {}).get("BinaryMediaTypes", ())
        )
    service = LocalApigwService(api, Recorder(), port=port, host="127.0.0.1")
    service.create()
    service.run()


if __name__ == "__main__":
    main()
