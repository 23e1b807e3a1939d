"""Figures of the report as SVG that lives inside the page: its fonts, its colours in light and in dark, no file beside it.

matplotlib draws; what it writes is then made part of a page: each colour becomes a CSS variable that `page.css` defines, text stays text
(so that any script shows in the reader's own fonts), ids carry the figure's name, and nothing depends on the date or the process.
One unit of a figure is one CSS pixel at its natural width, so that its letters are as large as those of the caption.
"""

import io
import re
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from penjing.core.report import Measure
from penjing.engine.words import amount, title

INK = {  # role -> colour in light mode, and the mark by which it becomes var(--role)
    "ink": "#22261f",
    "muted": "#686d64",
    "rule": "#d9d5c9",
    "parent": "#46566c",
    "child": "#00755e",
    "baseline": "#9c5c06",
    "failed": "#bb3a1c",
}
MARKS = {  # status -> role, marker, filled, and the same mark in text for captions and tables
    "parent": ("parent", "s", True, "■"),
    "baseline": ("baseline", "D", True, "◆"),
    "proven": ("child", "o", True, "●"),
    "failed": ("failed", "X", True, "✕"),
    "trained": ("child", "o", True, "●"),
    "not tested": ("muted", "o", False, "○"),
    "not trained": ("muted", "|", True, "|"),
}
LINES = ("child", "parent", "failed", "baseline", "ink", "muted")  # of trainings beside each other, best first
WIDTH, SMALL, LABEL = 380, 11.0, 12.0  # CSS pixels: a figure, its tick labels, its other words
_FEW_DECADES = 3.0  # an axis that spans less than this factor is linear: a logarithmic one would carry a single tick
_STEPS = [1, 2, 5, 10]  # ticks at numbers that are easy to read
_STYLE: dict[Any, Any] = {  # keys are rcParams
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of models and labels may hold a $
    "axes.edgecolor": INK["rule"],
    "axes.labelcolor": INK["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.unicode_minus": True,
    "xtick.color": INK["rule"],
    "xtick.labelcolor": INK["muted"],
    "ytick.color": INK["rule"],
    "ytick.labelcolor": INK["muted"],
    "ytick.left": False,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.labelsize": LABEL,
    "axes.grid.axis": "y",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK["rule"],
    "grid.linewidth": 0.6,
    "text.color": INK["ink"],
}


def trade_off(points: Sequence[dict[str, Any]], x: str, quality: str, floor: float | None, *, name: str, alt: str) -> str:
    """Quality of every point against its bytes, milliseconds or trained parameters; empty where fewer than two points have both.

    points    entries of `facts["curve"]`; the number beside a mark is the point's place in that list, from 1
    x         "bytes", "latency_ms" or "trained_parameters"
    floor     the lowest quality that is allowed, in the unit of the points; None where no floor was set
    """
    placed = [(i, p) for i, p in enumerate(points, 1) if p.get(x) is not None and p.get("quality") is not None]
    if len(placed) < 2:
        return ""
    with _style(name):
        figure, (axes,) = _figure(300)
        _x_axis(axes, x, [p[x] for p in points if p.get(x) is not None])
        _frontier(axes, [(p[x], p["quality"]) for _, p in placed])
        for _, point in placed:
            _mark(axes, point[x], point)
        for point in points:
            if point.get("quality") is None and point.get(x) is not None:
                axes.plot([point[x]] * 2, [0, 0.03], color=INK["muted"], lw=1.2, transform=axes.get_xaxis_transform())
        if floor is not None:
            axes.axhline(floor, color=INK["failed"], lw=1, ls=(0, (4, 3)))
        axes.set_ylabel(title(quality))
        _y_axis(axes, quality, [p["quality"] for _, p in placed])
        figure.canvas.draw()  # limits are final: labels can be placed in pixels
        _number(axes, [(_label(i, p), p[x], p["quality"], INK[MARKS[p["status"]][0]]) for i, p in placed], floor)
        return _svg(figure, name, alt)


def qualities(columns: Sequence[tuple[str, dict[str, Measure]]], *, name: str, alt: str) -> str:
    """Each quality in [0, 1] of parent, model and baseline with its 95 % interval; empty where the model has none.

    columns   (status as in MARKS, qualities by name), drawn downwards in this order
    """
    model = dict(columns).get("proven", {})
    names = [n for n, m in model.items() if m.unit in ("", "share") and m.better == "higher" and 0 <= m.value <= 1]
    if not names:
        return ""
    with _style(name, {"axes.grid.axis": "x"}):
        figure, (axes,) = _figure(70 + 58 * len(names))
        for row, quality in enumerate(names):
            shown = [(status, measures[quality]) for status, measures in columns if quality in measures]
            for place, (status, measure) in enumerate(shown):
                y = row + 0.26 * (place - (len(shown) - 1) / 2)
                role, marker, _, _ = MARKS[status]
                if measure.low is not None and measure.high is not None:
                    axes.plot([measure.low, measure.high], [y, y], color=INK[role], lw=1.6, solid_capstyle="butt")
                axes.plot(measure.value, y, marker, color=INK[role], ms=6.5, mew=0)
        axes.set_yticks(range(len(names)), [title(n) for n in names], color=INK["ink"], fontsize=LABEL)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g} %"))
        return _svg(figure, name, alt)


def topics(found: Sequence[tuple[str, int]], *, name: str, alt: str) -> str:
    """A bar for each (words, number of texts), in this order downwards, with the words above it and the number at its end."""
    with _style(name, {"axes.grid": False}):
        figure, (axes,) = _figure(24 + 34 * len(found))
        axes.barh(range(len(found)), [number for _, number in found], height=0.36, color=INK["child"])
        for place, (words, number) in enumerate(found):
            axes.annotate(words, (0, place), xytext=(0, 8), textcoords="offset points", fontsize=SMALL, va="bottom")
            axes.annotate(f"{number:,}", (number, place), xytext=(4, 0), textcoords="offset points", fontsize=SMALL, va="center",
                          color=INK["muted"])  # fmt: skip
        axes.set_ylim(len(found) - 0.5, -0.75)
        axes.margins(x=0.1)
        axes.set_axis_off()
        return _svg(figure, name, alt)


def training(epochs: Sequence[dict[str, Any]], best: float | None, quality: str, *, name: str, alt: str) -> str:
    """Loss above, quality on tuning rows below, by epoch, and the epoch that was kept; empty where nothing was noted."""
    rows = [(key, label, role) for key, label, role in (("loss", "loss", "parent"), ("tune", title(quality), "child"))
            if any(e.get(key) is not None for e in epochs)]  # fmt: skip
    if not rows:
        return ""
    with _style(name):
        figure, panels = _figure(20 + 130 * len(rows), len(rows))
        for axes, (key, label, role) in zip(panels, rows):
            noted = [(e["epoch"], e[key]) for e in epochs if e.get(key) is not None]
            axes.plot(*zip(*noted), color=INK[role], lw=1.6, marker="o", ms=3.5 if len(noted) <= 40 else 0)
            axes.set_ylabel(label)
            axes.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
            if best is not None:
                axes.axvline(best, color=INK["muted"], lw=1, ls=(0, (1, 2)))
            if key == "tune":
                _y_axis(axes, quality, [value for _, value in noted])
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        if best is not None:
            panels[0].annotate("kept", (best, 1), xycoords=("data", "axes fraction"), xytext=(-4, -2), textcoords="offset points",
                               ha="right", va="top", fontsize=SMALL, color=INK["muted"])  # fmt: skip
        return _svg(figure, name, alt)


def losses(lines: Sequence[Sequence[tuple[float, float]]], x: str, *, name: str, alt: str) -> str:
    """Loss against "step" or "seconds", smoothed, a line for each training; empty where none has two points.

    lines   the points of each training; the number at its end is its place in that list, from 1, and the first have colours of their own
    """
    drawn = [(number, _smooth(line)) for number, line in enumerate(lines, 1) if len(line) > 1]
    if not drawn:
        return ""
    with _style(name):
        figure, (axes,) = _figure(260)
        ends = []
        for number, line in reversed(drawn):
            role = LINES[number - 1] if number <= len(LINES) else "rule"
            axes.plot(*zip(*line), color=INK[role], lw=1.6 if number <= len(LINES) else 1.0)
            ends.append((str(number), *line[-1], INK[role if number <= len(LINES) else "muted"]))
        axes.set_ylabel("loss")
        axes.set_xlabel(x)
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        figure.canvas.draw()  # limits are final: labels can be placed in pixels
        _number(axes, ends[::-1], None)
        return _svg(figure, name, alt)


def load(points: Sequence[Mapping[str, Any]], *, name: str, alt: str) -> str:
    """Milliseconds of the median and of the slowest hundredth against rows a second; empty where nothing was answered.

    points   of `penjing.serve.bench`, in the order in which they are joined; at each its number of clients
    """
    answered = [point for point in points if "p50_ms" in point]
    if not answered:
        return ""
    with _style(name):
        figure, (axes,) = _figure(260)
        rates = [point["rate"] for point in answered]
        for key, role in (("p99_ms", "parent"), ("p50_ms", "child")):
            axes.plot(rates, [point[key] for point in answered], color=INK[role], lw=1.6, marker="o", ms=4)
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} ms"))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.set_xlim(0, 1.12 * max(rates))
        axes.set_xlabel("rows a second")
        figure.canvas.draw()  # limits are final: labels can be placed in pixels
        _number(axes, [(str(point["at_once"]), point["rate"], point["p99_ms"], INK["parent"]) for point in answered], None)
        return _svg(figure, name, alt)


def stacks(
    bars: Sequence[tuple[str, Sequence[tuple[str, float]]]], room: float | None, x: str, usable: str, *, name: str, alt: str
) -> str:  # fmt: skip
    """Bytes by part, a bar for each (label, (role, bytes) of the parts), in this order downwards, with a line at `room` bytes.

    x, usable   what the labels count, and what the line is called
    """
    with _style(name, {"axes.grid.axis": "x"}):
        figure, (axes,) = _figure(70 + 26 * len(bars))
        for place, (_, parts) in enumerate(bars):
            begun = 0.0
            for role, size in parts:
                axes.barh(place, size, left=begun, height=0.62, color=INK[role], lw=0)
                begun += size
        if room is not None:
            axes.axvline(room, color=INK["failed"], lw=1, ls=(0, (4, 3)))
            axes.annotate(usable, (room, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points", ha="center",
                          fontsize=SMALL, color=INK["failed"])  # fmt: skip
        axes.set_yticks(range(len(bars)), [label for label, _ in bars], color=INK["ink"], fontsize=LABEL)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_ylabel(x)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _tick(amount("bytes", v))))
        return _svg(figure, name, alt)


def against(
    counts: Sequence[int], values: Sequence[float], ends: Sequence[Sequence[float]] | None, x: str, y: str, *, name: str, alt: str
) -> str:  # fmt: skip
    """Values against numbers of devices, by factors where they span many, with a band between the two `ends` where there are some."""
    with _style(name):
        figure, (axes,) = _figure(230)
        if ends is not None:
            axes.fill_between(counts, ends[0], ends[1], color=INK["rule"], lw=0)
        axes.plot(counts, values, color=INK["child"], lw=1.6, marker="o", ms=4.5)
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        low, high = min(map(min, [values, *(ends or [])])), max(map(max, [values, *(ends or [])]))
        if low > 0 and high / low >= _FEW_DECADES:
            axes.set_yscale("log")
            axes.set_ylim(low / 1.15, high * 1.15)
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        else:
            axes.set_ylim(0, high * 1.05)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
        axes.minorticks_off()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        return _svg(figure, name, alt)


def leaving(shares: Sequence[float], curves: Mapping[str, Sequence[float]], band: Sequence[Sequence[float]], *, name: str, alt: str) -> str:
    """How an answer falls and rises as units of the input leave and come, against random orders.

    shares   (S,) of the units
    curves   (S,) answers for "deletion" and "insertion"
    band     (R, S) answers of random orders
    """
    with _style(name):
        figure, (axes,) = _figure(200)
        low, high = ([edge(values) for values in zip(*band)] for edge in (min, max))
        axes.fill_between(shares, low, high, color=INK["rule"], lw=0)
        for (key, values), (role, dashes) in zip(curves.items(), (("failed", "-"), ("child", (0, (5, 2))))):
            axes.plot(shares, values, color=INK[role], lw=1.6, ls=dashes, label=key)
            axes.annotate(key, (shares[len(shares) // 3], values[len(shares) // 3]), xytext=(4, 4), textcoords="offset points",
                          fontsize=SMALL, color=INK[role])  # fmt: skip
        axes.set_xlabel("share of the units that have left, or come")
        axes.set_ylabel("logit")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g} %"))
        return _svg(figure, name, alt)


def _smooth(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each point with the mean over the twentieth of the line that ends in it: single batches differ by more than trainings do."""
    wide = max(1, len(line) // 20)
    values = [value for _, value in line]
    return [(place, statistics.fmean(values[max(0, i - wide + 1) : i + 1])) for i, (place, _) in enumerate(line)]


@contextmanager
def _style(name: str, more: Mapping[str, Any] | None = None) -> Iterator[None]:
    """The look of all figures while one is drawn; `name` seeds its ids."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name} | dict(more or {})), warnings.catch_warnings():
        # Widths are those of matplotlib's own font, which lacks Chinese; the letters are drawn by the browser, which has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _figure(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of WIDTH x height CSS pixels with its panels one above the other; 72 matplotlib units are 72 pixels here."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(figure.subplots(panels, 1, squeeze=False, sharex=True)[:, 0])


def _x_axis(axes: Axes, x: str, values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    if low > 0 and high / low >= _FEW_DECADES:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low > 20 else (1.0, 2.0, 5.0)))
        axes.set_xlim(low / (high / low) ** 0.08, high * (high / low) ** 0.12)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.margins(x=0.12)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _tick(amount(x, v))))
    axes.set_xlabel(title(x))


def _tick(text: str) -> str:
    """0.50 ms as 0.5 ms."""
    number, space, unit = text.partition(" ")
    return f"{float(number):g}{space}{unit}"


def _y_axis(axes: Axes, quality: str, values: Sequence[float]) -> None:
    if all(0 <= value <= 1 for value in values):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g} %"))
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))


def _frontier(axes: Axes, placed: Sequence[tuple[float, float]]) -> None:
    """A line through the points that no smaller or faster one matches in quality."""
    best: list[tuple[float, float]] = []
    for cost, quality in sorted(placed, key=lambda point: (point[0], -point[1])):
        if not best or quality > best[-1][1]:
            best.append((cost, quality))
    axes.plot(*zip(*best), color=INK["rule"], lw=1.4, zorder=1)


def _mark(axes: Axes, x: float, point: dict[str, Any]) -> None:
    role, marker, filled, _ = MARKS[point["status"]]
    if point.get("low") is not None and point.get("high") is not None:
        axes.plot([x, x], [point["low"], point["high"]], color=INK[role], lw=1.1, alpha=0.55, zorder=2)
    face = INK[role] if filled else "none"
    axes.plot(x, point["quality"], marker, color=INK[role], mfc=face, ms=7, mew=0 if filled else 1.3, zorder=3)


def _label(number: int, point: dict[str, Any]) -> str:
    if point["status"] == "parent":
        return "parent"
    return str(point["name"])[:16] if point["status"] == "baseline" else str(number)


def _number(axes: Axes, labels: Sequence[tuple[str, float, float, str]], floor: float | None) -> None:
    """Write each label beside its mark, where it covers neither a mark nor a label, so far as one of six places is free."""
    centres = [axes.transData.transform((x, y)) for _, x, y, _ in labels]
    taken = [(cx - 5, cy - 5, cx + 5, cy + 5) for cx, cy in centres]
    frame = axes.bbox
    for (text, x, y, colour), (cx, cy) in zip(labels, centres):
        wide = sum(12.0 if ord(letter) > 0x2E7F else 6.3 for letter in text)
        places = [(7, -4), (-7 - wide, -4), (4, 5), (-4 - wide, 5), (4, -14), (-4 - wide, -14), (-wide / 2, 9), (-wide / 2, -19)]
        boxes = [(cx + dx, cy + dy, cx + dx + wide, cy + dy + 10) for dx, dy in places]
        inside = [box for box in boxes if box[0] >= frame.x0 and box[2] <= frame.x1 and box[1] >= frame.y0 and box[3] <= frame.y1]
        box = next((b for b in inside if not any(_overlap(b, other) for other in taken)), (inside or boxes)[0])
        taken.append(box)
        axes.annotate(text, (x, y), xytext=(box[0] - cx, box[1] - cy + 1), textcoords="offset points", fontsize=SMALL, color=colour)
    if floor is not None:
        axes.annotate("floor", (1, floor), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
                      ha="right", fontsize=SMALL, color=INK["failed"])  # fmt: skip


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as one <svg> element that needs nothing outside the page."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.S)  # a style here would reach the whole page
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for role, colour in INK.items():
        body = body.replace(colour, f"var(--{role})")
    width, height = (72 * inches for inches in figure.get_size_inches())
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(alt)}">{body.strip()}'
