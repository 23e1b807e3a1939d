"""The parts of the report page that show evidence: trade-off, quality, confusion, changed answers, training.

Each returns HTML, or nothing where the report lacks what it would show. `page.py` lists the facts they read.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from penjing.core.report import Report
from penjing.engine import markup, plots, words

MOST_LABELS = 20  # a confusion matrix with more is unreadable; the most frequent confusions are listed instead
MOST_CONFUSIONS = 15
MOST_TOPICS, MOST_WORDS = 30, 6  # in the figure


def curves(report: Report, key: str) -> str:
    """Quality against bytes and against latency, and every candidate by name."""
    curve, proof, name = report.facts.get("curve"), report.facts.get("proof"), words.primary(report)
    if not curve or name is None:
        return ""
    parent = next((p["quality"] for p in curve if p["status"] == "parent"), None)
    floor = parent - proof["floor"] / 100 if proof and parent is not None else None
    quality, drawn = f"{words.title(name)} on tuning rows", ""
    for x, what in (("bytes", "size in bytes"), ("latency_ms", "median latency")):
        spoken = "; ".join(_spoken(i, p, x, name) for i, p in enumerate(curve, 1))
        svg = plots.trade_off(curve, x, name, floor, name=f"{key}-{x}", alt=f"{quality} against {what}: {spoken}")
        drawn += markup.figure(svg, f"{quality.capitalize()} against {what}.")
    shown = [status for status in plots.MARKS if any(p["status"] == status for p in curve)]
    marks = [(plots.MARKS[status][0], plots.MARKS[status][3], status) for status in shown]
    marks += [("failed", "┄", "the floor")] if floor is not None else []
    marks += [("muted", "—", "the best for its cost"), ("muted", "", "numbers as in the table")]
    pair = f'<div class="pair">{drawn}</div>\n{markup.legend(marks)}' if drawn else ""
    return pair + _candidates(curve, name, report.facts.get("chosen"))


def _spoken(number: int, point: dict[str, Any], x: str, quality: str) -> str:
    value = "not trained" if point.get("quality") is None else words.amount(quality, point["quality"])
    cost = "" if point.get(x) is None else f" at {words.amount(x, point[x])}"
    return f"{number} {point['name']} ({point['status']}) {value}{cost}"


def _candidates(curve: Sequence[dict[str, Any]], quality: str, this: str | None) -> str:
    head = ("", "candidate", "status", "size", "latency", f"{words.title(quality)}, tuning rows", "proof rows", "recipe")
    chosen = [p["name"] == this for p in curve]
    caption = "Every candidate; the shaded one is this model." if any(chosen) else "Every candidate."
    rows = [_candidate(i, p, quality) for i, p in enumerate(curve, 1)]
    return markup.table(caption, head, rows, {0, 3, 4, 5, 6}, chosen)


def _candidate(number: int, point: dict[str, Any], quality: str) -> tuple[str, ...]:
    def cell(key: str, name: str) -> str:
        return "" if point.get(key) is None else words.amount(name, point[key])

    status = f"{plots.MARKS[point['status']][3]} {point['status']}"
    costs = cell("bytes", "bytes"), cell("latency_ms", "latency_ms")
    scores = cell("quality", quality), cell("proof_quality", quality)
    return str(number), point["name"], status, *costs, *scores, point.get("recipe") or ""


def qualities(report: Report, key: str) -> str:
    """The interval of every quality, of parent, model and baseline."""
    baseline = report.baseline or {"name": "", "measures": {}}
    columns = [
        ("parent", "parent", report.before),
        ("proven", "this model", report.after),
        ("baseline", baseline["name"], baseline["measures"]),
    ]
    kept = [(s, who, {n: m[n] for n in m if words.is_quality(n)}) for s, who, m in columns]
    kept = [(status, who, measures) for status, who, measures in kept if measures]
    spoken = [f"{who}: {words.title(n)} {words.with_interval(n, m[n])}" for _, who, m in kept for n in m]
    svg = plots.qualities([(status, m) for status, _, m in kept], name=f"{key}-quality", alt="; ".join(spoken))
    rows = words.ROWS.get(report.facts.get("measured_on", ""), "rows")
    marks = markup.legend([(plots.MARKS[status][0], plots.MARKS[status][3], who) for status, who, _ in kept])
    return markup.figure(svg, f"Quality on {rows}, with two-sided 95 % intervals.") + marks if svg else ""


def measures(report: Report) -> str:
    """Every measure of parent, model and baseline, with intervals and counts."""
    rows = words.table(report)
    baseline = report.baseline["name"] if report.baseline else ""
    return markup.table("", ("", "parent", "this model", baseline, "n"), rows, {1, 2, 3, 4}) if rows else ""


def groups(report: Report) -> str:
    """The primary measure in the largest groups of rows."""
    rows = words.groups(report)
    return markup.table(words.groups_caption(report), ("group", "n", "parent", "this model"), rows, {1, 2, 3}) if rows else ""


def confusion(report: Report) -> str:
    """Which labels are taken for which, by the parent and by the model."""
    counted = report.facts.get("confusion")
    if not counted:
        return ""
    labels = [str(label) for label in counted["labels"]]
    if len(labels) > MOST_LABELS:
        return _frequent(labels, counted)
    both = [("Parent", counted.get("parent")), ("This model", counted.get("child"))]
    return '<div class="pair">' + "".join(_matrix(who, labels, counts) for who, counts in both if counts) + "</div>\n"


def _matrix(who: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Truth downwards, answers across; shading is the share of a row, and every cell still says its number."""
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    body = ""
    for i, row in enumerate(counts):
        total = max(sum(row), 1)
        kinds = ["right" if i == j else "none" if count == 0 else "wrong" for j, count in enumerate(row)]
        cells = "".join(f'<td class="{k}" style="--share:{c / total:.3f}">{c or "·"}</td>' for k, c in zip(kinds, row))
        body += f'<tr><th scope="row">{escape(labels[i])}</th>{cells}</tr>\n'
    caption = f"<caption>{who}: truth downwards, answers across</caption>"
    grid = f"{caption}<thead><tr><td></td>{head}</tr></thead><tbody>\n{body}</tbody>"
    return markup.scroll(f'<table class="matrix">{grid}</table>', f"Confusion, {who}")


def _frequent(labels: Sequence[str], counted: dict[str, Any]) -> str:
    none = [[0] * len(labels)] * len(labels)
    parent, child = counted.get("parent") or none, counted.get("child") or none
    most = {(i, j): max(parent[i][j], child[i][j]) for i in range(len(labels)) for j in range(len(labels)) if i != j}
    pairs = sorted((pair for pair in most if most[pair]), key=lambda pair: -most[pair])[:MOST_CONFUSIONS]
    rows = [(labels[i], labels[j], str(parent[i][j]), str(child[i][j])) for i, j in pairs]
    head = ("truth", "answer", "parent", "this model")
    return markup.table("The most frequent confusions.", head, rows, {2, 3}) if rows else ""


def differ(report: Report, level: int) -> str:
    """The rows themselves, with the truth and both answers."""
    rows = report.facts.get("differ") or []
    if not rows:
        return ""
    kind = "differ pictures" if all(_is_picture(row) for row in rows) else "differ"
    items = "".join(f"<li>{_seen(row)}{_answers(row)}</li>\n" for row in rows)
    return f'<h{level}>Rows on which the two differ</h{level}>\n<ul class="{kind}">\n{items}</ul>\n'


def reasons(report: Report) -> str:
    """The rows on which the two agree least about what is important, with what is important to each."""
    least = (report.facts.get("reasons") or {}).get("least", [])
    rows = [[each["row"], f"{each['correlation']:.2f}", ", ".join(each["parent"]), ", ".join(each["child"])] for each in least]
    head = ("row", "ranks alike", "important to the parent", "to this model")
    return markup.table("Rows with the least alike reasons", head, rows, {1}) if rows else ""


def _is_picture(row: dict[str, Any]) -> bool:
    """Whether a row shows a picture that is inside the page; any other address would be a request."""
    return str(row["show"].get("image", "")).startswith("data:image/")


def _seen(row: dict[str, Any]) -> str:
    if _is_picture(row):
        alt = f"{row['row']}, truth {row['truth']}"
        return f'<img src="{escape(row["show"]["image"])}" alt="{escape(alt)}">'
    return f"<blockquote>{escape(str(row['show'].get('text', '')))}</blockquote>"


def _answers(row: dict[str, Any]) -> str:
    lines = "" if row["truth"] is None else f"<span>truth <b>{escape(words.answer(row['truth']))}</b></span>"
    for who, name in (("parent", "parent"), ("child", "this model")):
        score = row.get(f"{who}_score")
        sure = "" if score is None else f" {100 * score:.0f}&nbsp;%"
        open_or_number = row.get("written") or row["truth"] is None or isinstance(row[who], float)  # not just right or wrong
        right = "" if open_or_number else "&nbsp;✓" if row[who] == row["truth"] else "&nbsp;✗"
        lines += f'<span class="{who}">{name} <b>{escape(words.answer(row[who]))}</b>{right}{sure}</span>'
    return f'<p class="who">{lines}<span class="where">{escape(row["row"])}</span></p>'


def topics(report: Report, key: str) -> str:
    """How many texts each topic has, the largest first, and its words."""
    found = sorted(report.facts.get("topics") or [], key=lambda topic: -topic["rows"])
    if not found:
        return ""
    shown = [(", ".join(topic["words"][:MOST_WORDS]), topic["rows"]) for topic in found]
    spoken = "; ".join(f"{words}: {number:,}" for words, number in shown)
    total = sum(number for _, number in shown)
    caption = f"Topics by their first words, and how many of {total:,} training texts lie nearest to each."
    rows = [(str(i), ", ".join(topic["words"]), f"{topic['rows']:,}") for i, topic in enumerate(found, 1)]
    every = markup.table("Every word, the most telling first.", ("", "words", "texts"), rows, {0, 2})
    return markup.figure(plots.topics(shown[:MOST_TOPICS], name=f"{key}-topics", alt=spoken), caption) + every


def samples(report: Report) -> str:
    """How parent and model go on with a few texts."""
    found = report.facts.get("samples") or []
    rows = [tuple(" ".join(each.get(name, "").split()) for name in ("text", "parent", "child")) for each in found]
    return markup.table("Beginnings of rows, and how they go on.", ("beginning", "parent", "this model"), rows, set()) if rows else ""


def training(report: Report, key: str) -> str:
    """Loss and quality by epoch, and which epoch was kept."""
    noted, name = report.facts.get("training") or {}, words.primary(report)
    epochs, best = noted.get("curve") or [], noted.get("best_epoch")
    if not epochs or name is None:
        return ""
    tuned = [epoch["tune"] for epoch in epochs if epoch.get("tune") is not None]
    said = f"Loss and {words.title(name)} on tuning rows over {epochs[-1]['epoch']:g} epochs"
    said += f", at best {words.amount(name, max(tuned))}." if tuned else "."
    said += f" Epoch {best:g} was kept." if best is not None else ""
    return markup.figure(plots.training(epochs, best, name, name=f"{key}-training", alt=said), said)
