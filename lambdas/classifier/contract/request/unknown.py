"""Errors about unknown names, with the name that was probably meant."""

import difflib
from collections.abc import Sequence

from classifier.contract.errors import ApiError, quoted, shortened

# Other APIs' names of our fields.
FIELD_ALIASES = dict.fromkeys(
    ("image", "image_base64", "base64", "img", "file"), "image_data"
) | dict.fromkeys(("candidate_labels", "classes", "texts", "prompts"), "labels")


def unknown(name: str, known: Sequence[str], kind: str, prefix: str = "") -> ApiError:
    # difflib takes memory and time for every character.
    near = (
        [FIELD_ALIASES[name]]
        if name in FIELD_ALIASES
        else difflib.get_close_matches(shortened(name), known, 1)
    )
    if kind == "field" and "url" in name.lower():
        hint = "Nothing is fetched from the web; send the file itself, in base64, as image_data."
    else:
        hint = (
            f"Did you mean {near[0]}?"
            if near and near[0] in known
            else f"Known: {', '.join(known)}."
        )
    return ApiError(
        400,
        "invalid_request",
        f"The {kind} {quoted(name)} is unknown. {hint}",
        prefix + shortened(name),
    )


def unknown_name(name: str, known: Sequence[str], kind: str) -> str:
    """The end of a message about a name that the caller made up; `known` may be thousands."""
    if not known:
        return f"{quoted(name)}, and there is no {kind} here."
    near = difflib.get_close_matches(shortened(name), [shortened(one) for one in known[:100]], 1)
    names = (
        f"Known: {', '.join(map(quoted, known))}."
        if len(known) < 10
        else f"The first is {quoted(known[0])}."
    )
    return f"{quoted(name)}, which is no {kind} here. " + (
        f"Did you mean {quoted(near[0])}?" if near else names
    )
