"""The few shapes of the report's HTML; every text that comes in is escaped here."""

import re
from collections.abc import Sequence
from html import escape

_JOINED = re.compile(r"(?<=\d) (?=[%×]|[kMGT]?B\b|ms\b)|(?<=\d)(?=–\d)|(?<=\d–)(?=\d)")


def prose(text: str) -> str:
    """Text that may be wrapped anywhere but between a number and its unit, or inside an interval."""
    return _JOINED.sub(lambda gap: "&nbsp;" if gap[0] else "&#8288;", escape(text))


def section(level: int, heading: str, *parts: str) -> str:
    """A heading with HTML below it; nothing where there is nothing below."""
    body = "".join(parts)
    return f"<section>\n<h{level}>{escape(heading)}</h{level}>\n{body}</section>\n" if body else ""


def sentence(text: str) -> str:
    """A paragraph, nothing for no text."""
    return f"<p>{prose(text)}</p>\n" if text else ""


def facts(pairs: dict[str, str]) -> str:
    """Names with their values, those without one left out."""
    body = "".join(f"<dt>{escape(name)}</dt><dd>{prose(text)}</dd>\n" for name, text in pairs.items() if text)
    return f'<dl class="facts">\n{body}</dl>\n' if body else ""


def figure(svg: str, caption: str) -> str:
    """A drawing with its caption; nothing where nothing was drawn."""
    return f"<figure>{svg}<figcaption>{prose(caption)}</figcaption></figure>\n" if svg else ""


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """What the marks of the figures mean: (class, mark, words)."""
    spans = "".join(f'<span><b class="{role}">{escape(mark)}</b> {escape(text)}</span> ' for role, mark, text in entries)
    return f'<p class="marks">{spans}</p>\n'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int], chosen: Sequence[bool] = ()) -> str:
    """A table of text: columns in `numbers` are set flush right, `chosen` rows are shaded, empty columns are left out."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    names = "".join(f'<th scope="col"{_kind(i, numbers)}>{escape(name)}</th>' for i, name in enumerate(head) if i in kept)
    body = ""
    for number, row in enumerate(rows):
        shade = ' class="chosen"' if chosen and chosen[number] else ""
        first = f'<th scope="row"{_kind(0, numbers)}>{escape(row[0])}</th>'
        cells = "".join(f"<td{_kind(i, numbers)}>{escape(cell)}</td>" for i, cell in enumerate(row) if i and i in kept)
        body += f"<tr{shade}>{first}{cells}</tr>\n"
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    whole = f"<table>{above}<thead><tr>{names}</tr></thead><tbody>\n{body}</tbody></table>"
    return scroll(whole, caption or "Measures")


def scroll(wide: str, name: str) -> str:
    """A box in which something wider than a phone can be moved, by keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(name)}">{wide}</div>\n'


def _kind(column: int, numbers: set[int]) -> str:
    return ' class="n"' if column in numbers else ""
