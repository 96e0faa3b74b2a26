"""Reads a tokenizer's parsed files: its tokens, and what stands around texts."""

from collections.abc import Mapping
from typing import Any

from classifier.contract.bundle import TextSettings
from export.errors import ExportError
from export.tokenizers.parts import bpe, flat, normalizing, splitting, unigram, wordpiece
from export.tokenizers.tables import Tables

# As open_clip's.
CONTEXT_LENGTH = 77
# What open_clip's configurations may give to HFTokenizer besides the files.
OPTIONS = {"clean", "strip_sep_token"}
# NllbTokenizer does it whether its file says so or not.
ONE_SPACE = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
# T5Tokenizer adds this many tokens, for gaps in a text, unless told otherwise.
T5_EXTRA_IDS = 100


class Reader:
    """What `transformers` makes of a tokenizer's files, as open_clip's HFTokenizer calls it. Raises
    ExportError.
    """

    def __init__(
        self, spec: Mapping[str, Any], config: Mapping[str, Any], text: Mapping[str, Any]
    ) -> None:
        self.spec = spec
        self.config = config
        self.text = text
        self.options = text.get("tokenizer_kwargs") or {}
        self.kind = str(config.get("tokenizer_class") or "").removesuffix("Fast")
        self.added = {token["content"]: token for token in spec["added_tokens"]}
        vocabulary = spec["model"]["vocab"]
        if isinstance(vocabulary, list):
            vocabulary = {piece: i for i, (piece, _) in enumerate(vocabulary)}
        self.ids = vocabulary | {token: one["id"] for token, one in self.added.items()}

    def read(self, dynamic_length: bool, language: str | None) -> tuple[TextSettings, Tables]:
        if unknown := self.options.keys() - OPTIONS:
            raise ExportError(f"open_clip gives it {', '.join(sorted(unknown))}")
        if mode := self.text.get("tokenizer_mode"):
            raise ExportError(f"open_clip runs it in the mode {mode}")
        charsmap, replacements, tables = normalizing(self._normalizer())
        splits, pattern = splitting(self.spec.get("pre_tokenizer"), replacements)
        kind, more, unknown_id = self._model()
        special, added, normalized = self._tokens()
        start, end, language = self._around(language)
        settings = TextSettings(
            cleaning=self.options.get("clean", "whitespace"),
            special_tokens=special,
            added_tokens=added,
            charsmap=charsmap,
            replacements=replacements + splits,
            normalized_tokens=normalized,
            pattern=pattern,
            kind=kind,
            unknown_id=unknown_id,
            start_ids=start,
            end_ids=end,
            language=language,
            context_length=self.text.get("context_length", CONTEXT_LENGTH),
            pad_id=self._pad(),
            dynamic_length=dynamic_length,
        )
        return settings, tables | more

    def _normalizer(self) -> Mapping[str, Any] | None:
        normalizer = self.spec.get("normalizer")
        if self.kind == "NllbTokenizer":
            parts = flat(normalizer, "normalizers")
            charsmap = [part for part in parts if part["type"] == "Precompiled"]
            return {"type": "Sequence", "normalizers": [*charsmap, ONE_SPACE]}
        # Classes of the library take these from their configuration instead of the file.
        for part in (*flat(normalizer, "normalizers"), *self._splits()):
            for option, name in (("lowercase", "do_lower_case"), ("add_prefix_space",) * 2):
                if option in part and self.config.get(name, part[option]) != part[option]:
                    raise ExportError(f"its configuration says {name}={self.config[name]}")
        return normalizer

    def _splits(self) -> list[Mapping[str, Any]]:
        return flat(self.spec.get("pre_tokenizer"), "pretokenizers")

    def _model(self) -> tuple[Any, Tables, int | None]:
        model = self.spec["model"]
        byte_level = any(part["type"] == "ByteLevel" for part in self._splits())
        # Older files don't name the kind.
        named = {"merges": "BPE", "unk_id": "Unigram", "max_input_chars_per_word": "WordPiece"}
        match model.get("type") or next(named[part] for part in named if part in model):
            case "Unigram" if not byte_level:
                return "unigram", *unigram(model)
            case "BPE":
                return "byte-bpe" if byte_level else "bpe", *bpe(model, byte_level=byte_level)
            case "WordPiece" if not byte_level:
                return "wordpiece", *wordpiece(model)
            case kind:
                raise ExportError(f"its model is {kind}")

    def _tokens(self) -> tuple[list[str], dict[str, int], dict[str, int]]:
        """Those that are refused in texts, and those that are taken out before and after texts are
        normalized.
        """
        special = [token for token, one in self.added.items() if one["special"]]
        special += [
            content
            for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
            if (content := self._named(name)) and content not in special
        ]
        if self.kind in ("T5Tokenizer", "MT5Tokenizer"):
            extra = self.config.get("extra_ids", T5_EXTRA_IDS)
            special += {f"<extra_id_{i}>": 0 for i in range(extra)}.keys() - set(special)
        others = {token: one for token, one in self.added.items() if token not in special}
        for token, one in others.items():
            for option in ("single_word", "lstrip", "rstrip"):
                if one.get(option):
                    raise ExportError(f"its token {token!r} has the option {option}")
        if others and any(part.get("prepend_scheme") == "first" for part in self._splits()):
            raise ExportError("it marks the first word of a text, and has tokens of its own")
        decoded = (self.config.get("added_tokens_decoder") or {}).values()
        if strange := [one for one in map(_content, decoded) if one not in self.ids]:
            raise ExportError(f"its configuration adds a token that it lacks, {strange[0]}")
        before = {token: one["id"] for token, one in others.items() if not one["normalized"]}
        after = {token: one["id"] for token, one in others.items() if one["normalized"]}
        return sorted(special), before, after

    def _around(self, language: str | None) -> tuple[list[int], list[int], str | None]:
        """Ids at the start and at the end, and the language that is one of them."""
        if self.kind == "NllbTokenizer":
            language = language or self.config.get("src_lang") or "eng_Latn"
            if language not in self.added:
                near = [token for token in self.added if "_" in token]
                raise ExportError(f"it has no language {language}; it has {', '.join(near)}")
            code, end = self.ids[language], self.ids[self._named("eos") or "</s>"]
            before = not self.config.get("legacy_behaviour")
            return ([code], [end], language) if before else ([], [end, code], language)
        if language:
            raise ExportError(f"it has no languages, and LANGUAGE={language} was given")
        if "add_bos_token" in self.config or "add_eos_token" in self.config:
            start, end = (
                [self.ids[token]] if self.config.get(f"add_{name}_token") and token else []
                for name in ("bos", "eos")
                for token in [self._named(name)]
            )
        else:
            start, end = self._template()
        if self.options.get("strip_sep_token"):
            separator = self.ids[self._named("sep") or "[SEP]"]
            start, end = ([0 if i == separator else i for i in ids] for ids in (start, end))
        return start, end, None

    def _template(self) -> tuple[list[int], list[int]]:
        start: list[int] = []
        end: list[int] = []
        for part in flat(self.spec.get("post_processor"), "processors"):
            match part["type"]:
                case "ByteLevel":
                    pass
                case "RobertaProcessing" | "BertProcessing":
                    start.append(part["cls"][1])
                    end.append(part["sep"][1])
                case "TemplateProcessing":
                    side = start
                    for piece in part["single"]:
                        if "Sequence" in piece:
                            side = end
                        else:
                            side += part["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
                case kind:
                    raise ExportError(f"it puts tokens around texts by {kind}")
        return start, end

    def _pad(self) -> int:
        given = self.spec.get("padding") or {}
        default = "left" if self.kind == "GemmaTokenizer" else "right"
        side = self.config.get("padding_side") or given.get("direction", default).lower()
        if side != "right":
            raise ExportError(f"it pads texts on the {side}")
        token = self._named("pad") or given.get("pad_token")
        candidates = [token] if token else ["<pad>", "[PAD]"]
        found = [self.ids[one] for one in candidates if one in self.ids]
        if not found:
            raise ExportError("it has no token to pad texts with")
        return int(found[0])

    def _named(self, name: str) -> Any:
        """The content of the config's token of that role."""
        return _content(self.config.get(f"{name}_token"))


def _content(token: Any) -> Any:
    return token["content"] if isinstance(token, dict) else token
