"""The report as one page: `report.html`, which needs no network, no script and no other file.

What a stage puts into Report.facts; every key may be missing, and then its part of the page is too. Shares are in [0, 1],
points are hundredths of the primary metric, an interval {"value", "low", "high"} is two-sided 95 % (or a Measure), and no
text is trusted to be free of markup.

task          name of the task
labels        its labels, in the order of the outputs
metric        the measure that floors speak of
measured_on   "tune", "proof" or "all": the rows of before, after, baseline, flips, confusion and proof
latency       {"engine": {"parent", "child"}, "threads", "batch", "ratio", "low", "high", "parent_on_child_engine_ms"}
              ratio is the parent's wall time over the model's (above 1: faster) and missing where there is no parent;
              the last is given where the two run on different engines
flips         {"share": interval, "n", "worse", "better"}: answers that differ from the parent's; of them turned wrong,
              turned right, both missing where a row is not simply right or wrong
differ        [{"row": "file, row 12", "show": Task.show(...), "truth", "parent", "child", "parent_score", "child_score"}]
confusion     {"labels", "parent": counts, "child": counts}: a list for each true label; "parent" may be missing
groups        {"column", "num_groups", "largest": [{"group", "n", "parent": Measure, "child": Measure}]}: the primary measure in
              the largest groups; "parent" may be missing
proof         {"floor" (points), "floor_text", "loss", "upper" (points, one-sided 95 %), "n", "worse", "better", "passed",
              "missed_by" (points; where it failed), "method", "rows_needed", "opened" (times, else of Report.data),
              "units": "rows" or "groups" that "n" counts,
              "sequence": [{"name", "passed", "loss", "upper"}], the finalists in the order they were tested}
curve         [{"name", "status", "bytes", "latency_ms", "quality", "low", "high" (on tuning rows), "proof_quality",
              "recipe"}]; status is a key of plots.MARKS, quality None for a point that was timed but not trained
chosen        name of the point of the curve that this model is
topics        [{"words", "rows"}]: of each topic its words, the most telling first, and how many training texts it has
samples       [{"text", "parent", "child"}]: how they go on with the beginning of a row; either may be missing
reasons       {"method", "n", "correlation": Measure, "overlap": Measure, "floor": the last two of two trainings of the parent, or none,
              "least": [{"row", "correlation", "parent": [words], "child": [words]}]}: why the two say what the parent says
divergence    Measure: mean Kullback-Leibler divergence of the parent's distributions from the model's, in nats
training      {"curve": [{"epoch", "loss", "tune"}], "losses": [(step, seconds, loss)], "best_epoch", "seconds", "learnt": {"parameters"
              that were trained, "share" of the model's number, "note" of how what was learnt is stored}, "batch": [most rows, most
              tokens], "plan": {"on", "seconds", "low_s", "high_s", "took_s", "bytes", "took_bytes"} or None}; tune is the primary
              metric, low and high are the ends of an 80 % interval
parity        {"difference": largest difference of a logit after a reload in a process that never held the model}

`meta` is penjing.json; of it the page reads "lineage", oldest first: {"stage", "key", "parent": {"path", "sha256"}, "data":
{"name", "fingerprint", "licence"}, "options" (those that differ from their defaults), "seed", "versions", "date"}.
"""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from penjing.core.report import Report
from penjing.engine import beside, evidence, markup, words

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser itself refuses scripts and requests


def page(reports: Sequence[tuple[str, Report, dict[str, Any]]], title: str, above: str = "") -> str:
    """One page for the reports of one or more steps, in the order they ran; steps that can be compared stand first in one table.

    reports   (name, report, penjing.json of the model); the last one that was proven, else the last, comes first, whole; then the others
    above     HTML that stands before all of them
    """
    steps = [(name, words.plain(report), meta) for name, report, meta in reports]
    main = max(range(len(steps)), key=lambda i: ("proof" in steps[i][1].facts, i))
    order = [main, *(i for i in range(len(steps)) if i != main)]
    alone = len(steps) == 1
    articles = [_article(i, *steps[i], level=2 if alone else 3) for i in order]
    compared = beside.section([(name, report) for name, report, _ in steps])
    below = _identity(steps[main][1]) if alone else _contents(steps)
    report = steps[main][1]
    known = [part for part in (report.stage, report.facts.get("task"), report.data.get("name")) if part]
    footer = "Written by penjing from report.json, which holds every number in full."
    return document(title, known, below, above + compared + "\n".join(articles), footer)


def document(title: str, kicker: Sequence[str], below: str, body: str, footer: str) -> str:
    """A page of penjing that needs nothing beside itself.

    kicker   words above the title
    below    HTML below it, in the head of the page; body: all that follows
    """
    css = files("penjing.engine").joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        '<header><div class="seal" lang="zh" role="img" aria-label="penjing">盆景</div>\n'
        f'<p class="kicker">{escape(" · ".join(kicker))}</p>\n<h1>{escape(title)}</h1>\n{below}</header>\n<main>\n{body}'
        f"\n</main>\n<footer>{escape(footer)}</footer>\n</body>\n</html>\n"
    )


def _identity(report: Report) -> str:
    model = report.model
    return (
        f'<p class="kicker"><code>{escape(str(model.get("path", "")))}</code> · {escape(str(model.get("engine", "torch")))} · '
        f"sha256 <code>{escape(words.short(model.get('sha256')))}</code></p>\n"
    )


def _contents(steps: Sequence[tuple[str, Report, dict[str, Any]]]) -> str:
    items = [
        f'<li><a href="#step-{i}">{escape(name)}</a><span>{markup.prose(words.verdict(r))}</span></li>'
        for i, (name, r, _) in enumerate(steps)
    ]
    return f'<nav aria-label="Steps"><ol>{"".join(items)}</ol></nav>\n'


def _article(number: int, name: str, report: Report, meta: dict[str, Any], level: int) -> str:
    heading = f"<h2>{escape(name)}</h2>\n" + _identity(report) if level == 3 else ""
    key, flips = f"step-{number}", markup.sentence(words.flips_sentence(report))
    changed = "Where the answers changed" if flips else "Where it is right and wrong"
    parts = [
        _verdict(report),
        _numbers(report),
        _notes(report),
        markup.section(level, "Topics", evidence.topics(report, key)),
        markup.section(level, "What it writes", evidence.samples(report)),
        markup.section(level, "What smaller costs", evidence.curves(report, key)),
        markup.section(level, "Quality", evidence.qualities(report, key), evidence.measures(report), evidence.groups(report)),
        markup.section(level, "The proof", _proof(report)),
        markup.section(level, changed, flips, evidence.confusion(report), evidence.differ(report, level + 1)),
        markup.section(level, "The same reasons?", *map(markup.sentence, words.reasons_sentences(report)), evidence.reasons(report)),
        markup.section(level, "Training", markup.sentence(words.learnt_sentence(report)), evidence.training(report, key)),
        markup.section(level, "How it was made", _lineage(meta.get("lineage", []), level + 1)),
        markup.section(level, "Conditions", _conditions(report)),
    ]
    return f'<article id="{key}">\n{heading}' + "".join(parts) + "</article>"


def _verdict(report: Report) -> str:
    proof = report.facts.get("proof")
    head, colon, rest = words.verdict(report).partition(":") if proof else ("", "", words.verdict(report))
    missed = " missed" if proof and not proof["passed"] else ""
    mark = f"<b>{markup.prose(head)}{colon}</b>" if head else ""
    return f'<p class="verdict{missed}">{mark}{markup.prose(rest)}</p>\n'


def _numbers(report: Report) -> str:
    """The few numbers that matter, large."""
    name, cells = words.primary(report), []
    if name:
        model = report.after[name]
        small = [f"{words.interval(name, model)} (95 % interval)"] if words.interval(name, model) else []
        small += [f"parent {words.with_interval(name, report.before[name])}"] if name in report.before else []
        if report.baseline and name in report.baseline["measures"]:
            small.append(f"{report.baseline['name']} {words.with_interval(name, report.baseline['measures'][name])}")
        cells.append((words.title(name), words.shown(name, model), small))
    if "bytes" in report.after:
        cells.append(_cost(report, "bytes"))
    if "ratio" in report.facts.get("latency", {}):
        cells.append(_speed(report))
    elif "latency_ms" in report.after:
        cells.append(_cost(report, "latency_ms"))
    if flips := report.facts.get("flips"):
        small = [f"of {flips['n']} answers"]
        small += [f"{flips['worse']} turned wrong", f"{flips['better']} turned right"] if "worse" in flips else []
        cells.append(("answers that changed", words.amount("share", flips["share"]["value"]), small))
    body = "".join(f"<div><dt>{escape(label)}</dt><dd>{_big(text)}{_small(lines)}</dd></div>\n" for label, text, lines in cells)
    return f'<dl class="numbers">\n{body}</dl>\n' + markup.sentence(words.baseline_sentence(report)) if cells else ""


def _cost(report: Report, name: str) -> tuple[str, str, list[str]]:
    now, before = words.shown(name, report.after[name]), report.before.get(name)
    if before is None or round(before.value / report.after[name].value, 2) == 1.0:
        return words.title(name), now, []
    factor = before.value / report.after[name].value
    word = ("fewer bytes" if factor > 1 else "more bytes") if name == "bytes" else ("faster" if factor > 1 else "slower")
    return words.title(name), f"{words.three_digits(max(factor, 1 / factor))} ×", [word, f"{words.shown(name, before)} → {now}"]


def _speed(report: Report) -> tuple[str, str, list[str]]:
    latency = report.facts["latency"]
    factor, word = words.speed(latency)
    number, _, ends = factor.partition(" ")
    small = [f"{word} {ends}".strip()]
    if "latency_ms" in report.before and "latency_ms" in report.after:
        small.append(f"{words.shown('latency_ms', report.before['latency_ms'])} → {words.shown('latency_ms', report.after['latency_ms'])}")
    engines = latency["engine"]
    small += [f"{engines['parent']} → {engines['child']}"] if engines["parent"] != engines["child"] else [engines["child"]]
    return "latency", f"{number} ×", [*small, words.setup(latency)]


def _big(text: str) -> str:
    number, _, unit = text.partition(" ")
    return f'<div class="big">{escape(number)}' + (f'<span class="unit">{escape(unit)}</span>' if unit else "") + "</div>"


def _small(lines: Sequence[str]) -> str:
    return '<div class="small">' + "<br>".join(map(markup.prose, lines)) + "</div>" if lines else ""


def _notes(report: Report) -> str:
    items = "".join(f"<li>{markup.prose(note)}</li>" for note in report.notes)
    return f'<aside class="mind" aria-label="Notes"><p><b>Mind</b></p><ul>{items}</ul></aside>\n' if items else ""


def _proof(report: Report) -> str:
    proof = report.facts.get("proof")
    if not proof:
        return ""
    unseen = ", which no step has seen" if report.facts.get("measured_on") == "proof" else ""
    needed = f"; {proof['rows_needed']} were needed" if proof.get("rows_needed") else ""
    facts = {
        proof.get("units", "rows"): f"{proof['n']}{unseen}{needed}",
        "answers": f"{proof['worse']} turned wrong, {proof['better']} turned right" if "worse" in proof else "",
        "loss": f"{words.points(proof['loss'])} points, at most {words.points(proof['upper'])} ({words.CONFIDENCE})",
        "floor": proof["floor_text"],
        "method": proof["method"],
        "tested, in this order": "; ".join(_tested(step) for step in proof.get("sequence", [])),
        "proof rows": words.opened_sentence(report),
    }
    return markup.facts(facts)


def _tested(step: dict[str, Any]) -> str:
    bounds = f"loss {words.points(step['loss'])}, upper bound {words.points(step['upper'])}"
    return f"{step['name']} {'proven' if step['passed'] else 'failed'} ({bounds})"


def _lineage(lineage: Sequence[dict[str, Any]], level: int) -> str:
    text = ""
    for number, step in enumerate(lineage, 1):
        facts = words.step_facts(step)
        heading = ", ".join(part for part in (step["stage"], facts.pop("date")) if part)
        text += f"<h{level}>{number}. {escape(heading)}</h{level}>\n{markup.facts(facts)}"
    return text


def _conditions(report: Report) -> str:
    """Where and with what this was measured: data, licences, cost, machine, versions, every option."""
    facts = {
        "data": words.data_phrase(report.data),
        "licence of the parent": (report.parent or {}).get("licence") or "",
        **{words.title(name): words.spent(name, value) for name, value in report.cost.items()},
        **{str(name): words.setting(value) for name, value in report.environment.items()},
        "reloaded elsewhere": words.parity_phrase(report),
        "options": words.settings(report.options),
        "proof rows": "" if report.facts.get("proof") else words.opened_sentence(report),
    }
    return markup.facts(facts)
