"""A tokenizer with fewer tokens, which cuts a text as before wherever it may.

A text of which every token stays is cut as before. WordPiece takes the longest piece that it knows, and fewer pieces leave the longest; a
merge of byte pairs is kept with all that it is made of, and the others were not used in such a text; the likeliest pieces (unigram) are the
likeliest among fewer too. Any other text is cut into smaller pieces, letters at the least: those of a script of which any token stays.
"""

import json
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

ASCII = 128
_FILES = ("vocab.txt", "vocab.json", "merges.txt")  # what tokenizer.json holds too, in the old numbers


def closed(tokenizer: Any, used: Iterable[int]) -> set[int]:
    """Tokens without which those of `used` could not be made, and those that any text may need: special ones, bytes, letters."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    model, numbers = whole["model"], tokenizer.get_vocab()
    names = {number: name for name, number in numbers.items()}
    kept = {*used, *tokenizer.all_special_ids, *tokenizer.added_tokens_decoder, *_around(whole)}
    kept |= {number for number in (model.get("unk_id"), numbers.get(model.get("unk_token"))) if number is not None}
    if model["type"] != "WordLevel":
        plain = {number: _bare(name, model) for number, name in names.items()}
        scripts = {_script(letter) for number in kept - {*tokenizer.all_special_ids} for letter in plain[number]}
        bytewise = {*ByteLevel.alphabet()} if '"ByteLevel"' in json.dumps(whole) else set[str]()
        kept |= {number for number, name in plain.items() if name in bytewise or _is_byte(name) or _is_letter(name, scripts)}
    made: dict[str, list[list[str]]] = {}
    for pair in map(_pair, model.get("merges", [])):
        made.setdefault(_merged(pair, model), []).append(pair)
    waiting = [*kept]
    while waiting:
        parts = {numbers[part] for pair in made.get(names[waiting.pop()], []) for part in pair} - kept
        kept |= parts
        waiting += parts
    return kept


def _bare(name: str, model: dict[str, Any]) -> str:
    """A piece without the signs that it continues a word, or ends one."""
    return name.removeprefix(model.get("continuing_subword_prefix") or "").removesuffix(model.get("end_of_word_suffix") or "")


def _merged(pair: list[str], model: dict[str, Any]) -> str:
    return pair[0] + pair[1].removeprefix(model.get("continuing_subword_prefix") or "")


def _around(whole: dict[str, Any]) -> set[int]:
    """The tokens that stand around a text, or fill it up."""
    padding = whole.get("padding") or {}
    found = {padding["pad_id"]} if padding.get("pad_id") is not None else set[int]()
    waiting = [whole.get("post_processor") or {}]
    while waiting:
        processor = waiting.pop()
        waiting += processor.get("processors", [])
        found |= {number for token in (processor.get("special_tokens") or {}).values() for number in token["ids"]}
        found |= {processor[end][1] for end in ("cls", "sep") if end in processor}
    return found


def _is_letter(name: str, scripts: set[str]) -> bool:
    return len(name) == 1 and (ord(name) < ASCII or _script(name) in scripts)


def _is_byte(name: str) -> bool:
    return len(name) == len("<0x00>") and name.startswith("<0x")


def _script(letter: str) -> str:
    """The first word of its name: LATIN, CJK, HIRAGANA."""
    return unicodedata.name(letter, "").split(" ")[0]


def _pair(merge: Any) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def trimmed(tokenizer: Any, kept: list[int]) -> Any:
    """The same tokenizer with these tokens alone, numbered anew in their order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        for file in _FILES:
            (folder / file).unlink(missing_ok=True)
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(_fewer(json.loads(path.read_text("utf-8")), kept), ensure_ascii=False), "utf-8")
        settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        settings.pop("added_tokens_decoder", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
        return AutoTokenizer.from_pretrained(folder)


def _fewer(whole: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """tokenizer.json in the new numbers."""
    number, model = {old: new for new, old in enumerate(kept)}, whole["model"]
    if isinstance(model["vocab"], dict):
        names = {name: number[old] for name, old in model["vocab"].items() if old in number}
        model["vocab"] = dict(sorted(names.items(), key=lambda pair: pair[1]))
    else:
        model["vocab"] = [pair for old, pair in enumerate(model["vocab"]) if old in number]
        names = {name: place for place, (name, _) in enumerate(model["vocab"])}
        if model.get("unk_id") is not None:
            model["unk_id"] = number[model["unk_id"]]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if {*_pair(pair), _merged(_pair(pair), model)} <= names.keys()]
    for token in whole["added_tokens"]:
        token["id"] = number[token["id"]]
    _renumber(whole.get("post_processor"), number)
    if (whole.get("padding") or {}).get("pad_id") is not None:
        whole["padding"]["pad_id"] = number[whole["padding"]["pad_id"]]
    return whole


def _renumber(processor: dict[str, Any] | None, number: dict[int, int]) -> None:
    """What stands around a text, whichever way it is written down."""
    if processor is None:
        return
    for each in processor.get("processors", []):
        _renumber(each, number)
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [number[old] for old in token["ids"]]
    for end in ("cls", "sep"):
        if end in processor:
            processor[end][1] = number[processor[end][1]]
