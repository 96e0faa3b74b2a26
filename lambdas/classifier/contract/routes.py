"""The table of routes. The handler, the stack's API and the local gateway are made from it."""

from typing import NamedTuple


class Route(NamedTuple):
    """`name`: the handler's name of its answer. `guarded`: needs the API's key or a signature, and
    has a preflight; the others are open to anyone, each under a low throttle of its own.
    `playground`: deployed only with the playground. A path may end in one parameter, `{id}`.
    """

    method: str
    path: str
    name: str
    guarded: bool = True
    playground: bool = False


ROUTES = (
    Route("POST", "/", "classify"),
    Route("GET", "/classifiers", "classifiers"),
    Route("POST", "/v1/moderations", "moderations"),
    Route("POST", "/v1/embeddings", "embeddings"),
    Route("GET", "/v1/models", "models"),
    Route("GET", "/v1/models/{id}", "model"),
    Route("GET", "/", "page", guarded=False, playground=True),
    Route("GET", "/openapi.json", "document", guarded=False, playground=True),
    Route("GET", "/health", "health", guarded=False),
)
GUARDED = tuple(route for route in ROUTES if route.guarded)
OPEN = tuple(route for route in ROUTES if not route.guarded)
# The paths that answer a preflight, and the headers that a browser may then send.
PREFLIGHTS = tuple(dict.fromkeys(route.path for route in GUARDED))
PREFLIGHT_HEADERS = (
    *("Authorization", "Content-Type", "X-Api-Key", "OpenAI-Organization", "OpenAI-Project"),
    # Always sent by OpenAI's client:
    # https://github.com/openai/openai-node/blob/master/src/internal/detect-platform.ts
    *(
        f"X-Stainless-{name}"
        for name in (
            *("Arch", "Helper-Method", "Lang", "OS", "Package-Version", "Retry-Count"),
            *("Runtime", "Runtime-Version", "Timeout"),
        )
    ),
)
_PATHS = {route.path for route in ROUTES}


def path_of(address: str) -> str | None:
    """The path in the table that a request's path has, such as `/v1/models/{id}`. None for an
    unknown one. A parameter may hold slashes, since some events come with a decoded path.
    """
    if address in _PATHS:
        return address
    parents = {path.removesuffix("{id}") for path in _PATHS if path.endswith("{id}")}
    found = (parent for parent in parents if address.startswith(parent) and address != parent)
    return next((f"{parent}{{id}}" for parent in found), None)


def methods(address: str) -> list[str]:
    """The methods of a path, as the header `Allow` lists them; none for an unknown path."""
    path = path_of(address)
    guarded = [route.method for route in GUARDED if route.path == path]
    return [
        *guarded,
        *(["OPTIONS"] if guarded else []),
        *(route.method for route in OPEN if route.path == path),
    ]
