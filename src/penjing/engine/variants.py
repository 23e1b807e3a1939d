"""What a sweep found, for the terminal and as a page: variants of one training beside each other, best first.

found     {"metric", "seeds", "varied": [option], "variants": [...], "failed": [{"words", "why"}]}, a variant
          {"words": {option: value}, "quality": Measure as a dict, the mean over seeds, its interval over rows, "by_seed": [value],
          "loss": of the training rows at the end, "seconds" of training, "losses": [(step, seconds, loss)] of the first seed}
"""

from collections.abc import Mapping
from typing import Any

from penjing.core.report import Measure
from penjing.engine import markup, plots, words

Found = Mapping[str, Any]


def text(found: Found) -> str:
    """The table as the terminal shows it, and what must be minded of it."""
    lines = [words.aligned(_head(found), _rows(found)), *_failed(found), *(f"note: {caveat}" for caveat in caveats(found))]
    return "\n".join(lines)


def caveats(found: Found) -> list[str]:
    """What a reader of the table, or of the best one's card, must not miss."""
    variants, best = found["variants"], found["variants"][0]["quality"]
    if len(variants) == 1:
        return []
    close = sum(1 for each in variants[1:] if best["low"] is not None and each["quality"]["value"] >= best["low"])
    chosen = (
        f"the best of {len(variants)} variants was chosen by these very rows, so its {words.title(found['metric'])} here is likely too good"
    )
    said = [f"{chosen}; penjing evaluate measures it on rows that had no say"]
    return said + ([f"within its interval there is room for {close} of the others, which may be as good"] if close else [])


def _failed(found: Found) -> list[str]:
    return [f"failed: {words.settings(each['words'])}: {each['why']}" for each in found["failed"]]


def section(found: Found) -> str:
    """Losses against steps and seconds, quality against seconds, and the table, as HTML."""
    name, variants = found["metric"], found["variants"]
    spoken = "; ".join(f"{i} {words.settings(each['words'])} {_quality(each, name)}" for i, each in enumerate(variants, 1))
    drawn = ""
    for x, place in (("step", 0), ("seconds", 1)):
        lines = [[(point[place], point[2]) for point in each["losses"]] for each in variants]
        svg = plots.losses(lines, x, name=f"losses-{x}", alt=f"Loss against {x}: {spoken}")
        drawn += markup.figure(
            svg, f"Loss of the training rows against {'steps' if x == 'step' else x}, smoothed; numbers as in the table."
        )
    points = [
        {"name": "", "status": "trained", "seconds": each["seconds"], "quality": q["value"], "low": q["low"], "high": q["high"]}
        for each in variants
        for q in [each["quality"]]
    ]
    what = f"{words.title(name).capitalize()} on tuning rows against seconds of training"
    svg = plots.trade_off(points, "seconds", name, None, name="quality-seconds", alt=f"{what}: {spoken}")
    head, rows = ("", *_head(found)), [(str(i), *row) for i, row in enumerate(_rows(found), 1)]
    return markup.section(
        2,
        "Variants",
        f'<div class="pair">{drawn}</div>\n' if drawn else "",
        markup.figure(svg, f"{what}; two-sided 95 % intervals over rows."),
        markup.table("Best first.", head, rows, {0, *range(1 + len(found["varied"]), len(head))}, [True, *[False] * (len(rows) - 1)]),
        *(markup.sentence(line[:1].upper() + line[1:] + ".") for line in (*_failed(found), *caveats(found))),
    )


def _head(found: Found) -> tuple[str, ...]:
    over = ("lowest to highest seed",) if found["seeds"] > 1 else ()
    return (*(name.replace("_", " ") for name in found["varied"]), f"{words.title(found['metric'])}, tuning rows", *over, "loss", "time")


def _rows(found: Found) -> list[tuple[str, ...]]:
    return [_row(each, found) for each in found["variants"]]


def _row(each: Mapping[str, Any], found: Found) -> tuple[str, ...]:
    name, measured = found["metric"], each["quality"]
    low, high = (words.amount(name, end(each["by_seed"]), measured["unit"], measured["better"]) for end in (min, max))
    values = (words.setting(each["words"][option]) for option in found["varied"])
    return (
        *values,
        _quality(each, name),
        *((f"{low} to {high}",) if found["seeds"] > 1 else ()),
        "" if each["loss"] is None else f"{each['loss']:.4g}",
        words.duration(each["seconds"]),
    )


def _quality(each: Mapping[str, Any], name: str) -> str:
    return words.with_interval(name, Measure(**each["quality"]))
