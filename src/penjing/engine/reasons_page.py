"""Explanations as one page: words marked in their text, cells laid over an image or a sound, and how far to trust them.

What speaks for the answer is marked by a solid line below a word or a disc on a cell, what speaks against it by a dotted line or a ring, as
thick or as large as it weighs; colour says the same a second time.
"""

import base64
import collections
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy
import PIL.Image

from penjing.core.contracts import Task
from penjing.core.model_dir import ModelDir
from penjing.engine import markup, page, plots, words
from penjing.engine.reasons import Explanation

MOST_LISTED = 8  # units of a row
MOST_WORDS, FEWEST = 12, 2  # words of an answer over all rows, and rows in which they occur
MOST_SHOWN = 100  # rows
MARKED = 0.03  # of the largest score; what weighs less is not marked
STRIP = (180, 480)  # height and width of a sound
_MOST_LETTERS = 90  # of a training row
_WHAT = {"text": "words", "image": "patches", "sound": "cells"}


def page_of(found: Sequence[Explanation], task: Task, base: ModelDir, usual: Mapping[str, Explanation]) -> str:
    """The whole page; rows beyond MOST_SHOWN count in what is said of all of them.

    usual   of each answer the row that is most like all with it
    """
    what = _WHAT[task.media]
    parts = [_row(i, each, what) for i, each in enumerate(found[:MOST_SHOWN])]
    title = f"Why {base.path.name} answers so" if base.path.name else "Why a model answers so"
    below = f'<p class="kicker"><code>{escape(str(base))}</code> · {escape(found[0].method)}</p>\n'
    return page.document(title, ["explain", str(base.task)], below, _all(found, what, usual) + "\n".join(parts), "Written by penjing.")


def _all(found: Sequence[Explanation], what: str, usual: Mapping[str, Explanation]) -> str:
    """What the rows have in common; nothing for one row."""
    if len(found) < 2:
        return ""
    trusted = [each for each in found if each.trust]
    gains = [each.trust.gain for each in trusted if each.trust]
    said = f"{len(found)} rows. In {sum(not each.warnings for each in found)} of them nothing speaks against the explanation."
    least = sorted(trusted, key=lambda each: each.trust.gain if each.trust else 0.0)[:5]
    rows = [[each.name[:60], words.answer(each.answer.value), _decimal(each.trust.gain)] for each in least if each.trust]
    mean = f"The mean gain over random orders is {_decimal(float(numpy.mean(gains)))}." if gains else ""
    typical = [[answer, each.name[:80]] for answer, each in usual.items()]
    return markup.section(
        2, "All rows", markup.sentence(f"{said} {mean}"), _words_of_answers(found),
        markup.table("The most usual row of each answer", ["answer", "row"], typical, set()) if typical else "",
        markup.table("Explained least faithfully", ["row", "answer", "gain"], rows, {2}) if rows else "",
    )  # fmt: skip


def _words_of_answers(found: Sequence[Explanation]) -> str:
    """For each answer the words that speak for it most over all rows: the mean of their scores."""
    scores: dict[str, dict[str, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for each in found:
        for unit, score in zip(each.units, each.scores):
            if unit.text and unit.text.isalnum():
                scores[words.answer(each.answer.value)][unit.text.lower()].append(float(score))
    rows = []
    for answer, known in scores.items():
        means = {word: float(numpy.mean(given)) for word, given in known.items() if len(given) >= FEWEST}
        best = sorted(means, key=lambda word: -means[word])[:MOST_WORDS]
        if best:
            rows.append([answer[:40], ", ".join(f"{word} {_decimal(means[word])}" for word in best if means[word] > 0)])
    few = len(rows) <= MOST_WORDS
    return (
        markup.table("Words that speak for an answer, mean score where they occur twice or more", ["answer", "words"], rows, set())
        if rows and few
        else ""
    )


def _row(number: int, found: Explanation, what: str) -> str:
    sure = "" if found.answer.score is None else f" ({found.answer.score:.3f})"
    verdict = f'<p class="verdict">{markup.prose(words.answer(found.answer.value))}{escape(sure)}</p>\n'
    notes = "".join(f"<li>{markup.prose(text)}</li>" for text in found.warnings)
    mind = f'<aside class="mind" aria-label="Notes"><p><b>Mind</b></p><ul>{notes}</ul></aside>\n' if notes else ""
    drawn = _text(found) if found.units[0].text else _over(found, f"row-{number}")
    marks, more = ("▁⋯", "thicker") if found.units[0].text else ("●○", "larger")
    kinds = [("child", marks[0], "speaks for it"), ("failed", marks[1], "speaks against it"), ("muted", "", f"the {more}, the more")]
    if found.units[0].column == "sound":
        kinds.append(("muted", "", "time goes to the right, pitch upward"))
    legend = markup.legend(kinds)
    name = found.name if len(found.name) <= 60 else found.name[:59] + "…"
    return (
        f'<article id="row-{number}">\n<h2>{escape(name)}</h2>\n{verdict}{mind}{drawn}{legend}'
        f'<div class="pair">{_listed(found, what)}{_curves(found, f"curves-{number}")}</div>\n{_traced(found)}{_facts(found)}</article>'
    )


def _text(found: Explanation) -> str:
    """The text of each column, its words marked."""
    most, columns = _most(found), list(dict.fromkeys(unit.column for unit in found.units))
    body = ""
    for column in columns:
        value = found.row.texts[column]
        marked = [(unit, score) for unit, score in zip(found.units, found.scores) if unit.column == column]
        text = value if isinstance(value, str) else "".join(_filled(marked))
        end, inner = 0, ""
        for unit, score in marked:
            inner += escape(text[end : unit.start]) + _word(unit.text, float(score), most)
            end = unit.end
        name = f'<span class="column">{escape(column)}</span>' if len(columns) > 1 else ""
        body += f'<p class="why">{name}{inner}{escape(text[end:])}</p>\n'
    return body


def _filled(marked: Sequence[tuple[Any, float]]) -> list[str]:
    """Words that stand one by one, with the spaces that lie between their places."""
    ends = [0, *(unit.end for unit, _ in marked)]
    return [" " * (unit.start - end) + unit.text for end, (unit, _) in zip(ends, marked)]


def _word(text: str, score: float, most: float) -> str:
    weight = abs(score) / most
    if weight < MARKED:
        return escape(text)
    kind = "for" if score > 0 else "against"
    return f'<span class="{kind}" style="--w:{weight:.2f}" title="{_decimal(score)}">{escape(text)}</span>'


def _over(found: Explanation, key: str) -> str:
    """What the model saw as a picture, the cells of most weight laid over it."""
    seen = (
        found.row.batch.inputs[next(name for name, value in found.row.batch.inputs.items() if value.is_floating_point())][0].cpu().numpy()
    )
    (picture, height, width), sound = _picture(seen), found.units[0].column == "sound"
    if sound:
        height, width = STRIP
    down, across = (1 + last for last in (found.units[-1].start, found.units[-1].end)[:: -1 if sound else 1])
    tall, wide, most = height / down, width / across, _most(found)
    cells = ""
    for unit, score in zip(found.units, found.scores):
        row, column = (down - 1 - unit.end, unit.start) if sound else (unit.start, unit.end)
        if (weight := abs(float(score)) / most) >= MARKED:
            kind, size = "for" if score > 0 else "against", 0.46 * weight**0.5  # as much ink as weight
            middle = f'cx="{(column + 0.5) * wide:.2f}" cy="{(row + 0.5) * tall:.2f}"'
            spot = f'rx="{size * wide:.2f}" ry="{size * tall:.2f}" stroke-width="{0.07 * min(tall, wide):.2f}"'
            cells += f'<ellipse class="{kind}" {middle} {spot}><title>{_decimal(float(score))}</title></ellipse>'
    image = f'<image href="{picture}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
    return (
        f'<figure><svg class="over{" wide" if sound else ""}" id="{key}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(_spoken(found))}">{image}{cells}</svg></figure>\n'
    )


def _picture(seen: numpy.ndarray) -> tuple[str, int, int]:
    """Pixels (K, H, W), a log-mel (F, M) or samples (T,) as a grey or coloured image in a data URI, its height and width.

    Time goes to the right, and high pitches are above low ones.
    """
    shown = seen.transpose(1, 2, 0) if seen.ndim == 3 else numpy.atleast_2d(seen.T)[::-1, :, None]
    low, high = shown.min(), shown.max()
    grey = ((shown - low) / max(high - low, 1e-9) * 255).astype(numpy.uint8)
    image, stream = PIL.Image.fromarray(grey if grey.shape[-1] == 3 else grey[..., 0]), io.BytesIO()
    image.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}", *shown.shape[:2]


def _listed(found: Explanation, what: str) -> str:
    order = numpy.argsort(-numpy.abs(found.scores), kind="stable")[:MOST_LISTED]
    rows = [[found.units[i].name, _decimal(float(found.scores[i]))] for i in order]
    return markup.table(f"The {what} of most weight", [what, "score"], rows, {1})


def _curves(found: Explanation, key: str) -> str:
    if not found.trust:
        return ""
    trust = found.trust
    curves = {"deletion": trust.deletion.tolist(), "insertion": trust.insertion.tolist()}
    alt = f"deletion {', '.join(map(_decimal, curves['deletion']))}"
    svg = plots.leaving(trust.shares.tolist(), curves, trust.random.tolist(), name=key, alt=alt)
    return markup.figure(svg, "The logit as the units leave, most important first, and as they come; shaded: ten random orders of leaving.")


def _traced(found: Explanation) -> str:
    """The training rows behind an answer."""
    parts = ""
    for key, caption in (
        ("pushed_by", "Training rows that pushed this answer most"),
        ("nearest", "Training rows that the model takes for most alike"),
    ):
        rows = (found.traced or {}).get(key, [])
        shown = [[each["row"], str(each["label"]), _decimal(each["score"]), each.get("text", "")[:_MOST_LETTERS]] for each in rows]
        parts += markup.table(caption, ["row", "label", "score", "text"], shown, {2}) if shown else ""
    return parts


def _facts(found: Explanation) -> str:
    trust = found.trust
    gained = ""
    if trust:
        gained = f"this order beats {trust.beaten:.0%} of random ones, by {_decimal(trust.gain)} of the range of the answers in the mean"
    return markup.facts(
        {
            "explained": f"the logit of {found.explained}: {_decimal(found.whole)}, {_decimal(found.nothing)} where the input says nothing",
            "faithfulness": gained,
            "completeness": "" if found.gap is None else f"scores add up to the change but for {found.gap:.2%}",
        }
    )


def _spoken(found: Explanation) -> str:
    """The cells of most weight, for who does not see them."""
    order = numpy.argsort(-found.scores, kind="stable")[:3]
    return "most weight at " + "; ".join(found.units[i].name for i in order)


def _most(found: Explanation) -> float:
    return float(numpy.abs(found.scores).max()) or 1.0


def _decimal(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
