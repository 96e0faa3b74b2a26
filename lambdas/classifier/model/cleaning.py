"""Cleans texts as open_clip's ways of that name do (open_clip/tokenizer.py, get_clean_fn), except
that invisible characters are removed.
"""

import re
import string
from typing import Literal

Cleaning = Literal["lower", "whitespace", "canonicalize"]
# Texts in which cleaning changes only white space and capitals: without character references and
# control characters.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")
# `canonicalize` makes a space of each underscore, then removes all of ASCII's punctuation.
_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))

# Invisible characters that change what the model reads: the joining grapheme, soft hyphen, marks
# and controls of direction, zero-width spaces, and the byte order mark; then the selectors of a
# variant and the tags of a flag if they follow nothing that has variants. Of the format characters
# (https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point) those are left that are seen,
# or that shape a script.
_INVISIBLE = (
    "[\u00ad\u034f\u061c\u17b4\u17b5\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a]"
    "|(?<![\u1810-\u18af])[\u180b-\u180f]+"
    "|(?:(?<=[\\sA-Za-z\u200c\u200d])|^)[\ufe00-\ufe0f]+"
    "|(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0000-\U000e007f]+"
)
# Letters and marks of the scripts that spell with joiners: Arabic's with Persian and its other
# relatives, the Indic ones, Mongolian. https://www.unicode.org/versions/Unicode16.0.0/core-spec/
# chapters 9, 12 and 13
_SPELT = (
    "\u0620-\u065f\u066e-\u06ef\u06fa-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u18af"
    "\u1a20-\u1c4f\ua800-\uaaff\ufb50-\ufeef"
)
# The signs that end a consonant, behind which a joiner at a word's end shapes it.
_VIRAMAS = "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca"
_EMOJI = "\u2190-\u2bff\U0001f000-\U0001faff"
# A joiner that is kept is the first or second group.
_JOINERS = (
    f"(?:(?<=[{_SPELT}])([\u200c\u200d])[\u200c\u200d]*(?=[{_SPELT}])"
    f"|(?<=[{_EMOJI}\ufe0f])(\u200d)[\u200c\u200d]*(?=[{_EMOJI}])"
    f"|(?<=[{_VIRAMAS}])(\u200d)[\u200c\u200d]*"
    "|[\u200c\u200d]+)"
)


def clean(text: str, cleaning: Cleaning) -> str:
    """Libraries that only texts beyond plain ASCII need are imported when the first such text
    comes.
    """
    if not _PLAIN.fullmatch(text):
        import html

        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        text = re.sub(_JOINERS, r"\1\2\3", re.sub(_INVISIBLE, "", text))
    if cleaning == "canonicalize":
        text = text.translate(_PUNCTUATION)
    text = " ".join(text.split())
    return text if cleaning == "whitespace" else text.lower()
