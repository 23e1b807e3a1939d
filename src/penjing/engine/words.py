"""Numbers and verdicts in words, said the same way on the card, on the page and in the terminal.

Facts are read as `report.json` holds them: plain dicts and lists. `plain` brings a report of this process into that form.
"""

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from penjing.core.report import Measure, Report

ROWS = {"tune": "tuning rows", "proof": "proof rows", "all": "rows"}  # what `facts["measured_on"]` means to a reader
CONFIDENCE = "one-sided 95 %"
WIDTH = 100  # columns of a terminal
_TITLES = {
    "macro_f1": "macro F1",
    "f1": "F1",
    "micro_f1": "micro F1",
    "entity_f1": "entity F1",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "recall_at_1": "recall at 1",
    "recall_at_10": "recall at 10",
    "mrr": "mean reciprocal rank",
    "pearson": "Pearson's correlation",
    "r2": "R²",
    "mae": "mean absolute error",
    "spearman": "Spearman's rank correlation",
    "bytes": "size",
    "peak_memory_bytes": "peak memory",
    "seconds": "time",
    "latency_ms": "latency, median",
    "latency_p95_ms": "latency, 95th percentile",
}


def plain(report: Report) -> Report:
    """The report as it comes back from `report.json`."""
    return Report.from_json(report.to_json())


def title(name: str) -> str:
    """The name of a measure for readers."""
    return _TITLES.get(name, name.replace("_", " "))


def is_quality(name: str) -> bool:
    """Whether a measure says how good the answers are, not what they cost."""
    return name not in ("parameters", "seconds") and not name.endswith(("bytes", "_ms", "_s"))


def amount(name: str, value: float, unit: str = "", better: str = "higher") -> str:
    """A value in the unit its reader thinks in: 310 kB, 1.94 ms, 3 min 20 s, 22.7 M, 98.3 % for a quality in [0, 1], else four digits."""
    if name.endswith("bytes"):
        return _scaled(value, (" B", " kB", " MB", " GB", " TB"))
    if name.endswith("parameters"):
        return _scaled(value, ("", " k", " M", " G", " T"))
    if name.endswith("_ms"):
        return f"{three_digits(value)} ms"
    if name == "seconds" or name.endswith("_s"):
        return duration(value)
    if unit == "share" or (not unit and better == "higher" and 0 <= value <= 1):
        return f"{100 * value:.1f} %"
    return f"{_plain(value)} {unit}".strip()


def share(value: float) -> str:
    """12.3 %, 0.65 %, 100 %: three digits at most, so that a small share is not rounded to none."""
    return f"{three_digits(100 * value)} %"


def _plain(value: float) -> str:
    """Four digits, and all before the point: 0.7132, 815.6, 26,859."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """4.2 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return (f"{value:.0f}" if power == 0 else three_digits(value)) + units[power]


def three_digits(value: float) -> str:
    """12.3, 4.06, 120: without an exponent."""
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}" if size >= 0.0995 else f"{value:.3g}"


def answer(value: Any) -> str:
    """An answer or a truth: a label, labels, or a number."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def explained(found: Mapping[str, Any]) -> str:
    """An explanation for a terminal: the answer, and the units of most weight with a bar each."""
    best = sorted(found["units"], key=lambda unit: -abs(unit["score"]))[:10]
    most = max((abs(unit["score"]) for unit in best), default=0) or 1
    names = [unit.get("text") or ", ".join(f"{name} {at}" for name, at in unit.items() if name != "score") for unit in best]
    wide = max(map(len, names), default=0)
    sure = "" if found["score"] is None else f" {found['score']:.3f}"
    lines = [f"{answer(found['value'])}{sure}  {' '.join(str(found['input']).split())}"]
    for name, unit in zip(names, best):
        bar = "█" * round(20 * abs(unit["score"]) / most)
        lines.append(f"  {name:<{wide}}  {unit['score']:+.3f} {'for    ' if unit['score'] > 0 else 'against'} {bar}")
    for key, name in (("pushed_by", "pushed by"), ("nearest", "alike")):
        lines += [
            f"  {name} {each['row']}, {each['label']}, {each['score']:.3g}: {each.get('text', '')[:60]}" for each in found.get(key, [])
        ]
    return "\n".join([*lines, *(f"  mind: {text}" for text in found["warnings"])])


def shown(name: str, measure: Measure) -> str:
    """The measure's value in words."""
    return amount(name, measure.value, measure.unit, measure.better)


def interval(name: str, measure: Measure) -> str:
    """Both ends of the 95 % interval as 96.4–99.2, empty where the measure has none."""
    if measure.low is None or measure.high is None:
        return ""
    low, high = (amount(name, end, measure.unit, measure.better) for end in (measure.low, measure.high))
    number, _, unit = low.partition(" ")
    return f"{number}–{high.removesuffix(' ' + unit)}" if unit and high.endswith(" " + unit) else f"{low}–{high}"


def with_interval(name: str, measure: Measure) -> str:
    """98.3 % (96.4–99.2)."""
    ends = interval(name, measure)
    return shown(name, measure) + (f" ({ends})" if ends else "")


def points(value: float) -> str:
    """A difference of quality in points of the primary metric: 0.3, −0.8, and 0.04 where one decimal would say nothing."""
    text = f"{value:.1f}" if abs(value) >= 0.095 or round(value, 3) == 0 else f"{value:.2g}"
    return text.replace("-0.0", "0.0").replace("-", "−") if round(value, 3) == 0 else text.replace("-", "−")


def primary(report: Report) -> str | None:
    """The measure that floors speak of; None for a report that measured no quality."""
    named = report.facts.get("metric")
    return named if named in report.after else next((name for name in report.after if is_quality(name)), None)


def verdict(report: Report) -> str:
    """One sentence: proven or by how much the floor was missed; for other stages what was measured, and on which rows."""
    if "estimate" in report.facts:
        return estimate_sentence(report)
    proof = report.facts.get("proof")
    if proof:
        below = "away from its parent's answers" if report.facts.get("metric") == "agreement" else "below its parent"
        return _proven(proof, _tested_on(report), below) if proof["passed"] else _missed(proof, _tested_on(report))
    name = primary(report)
    if name is None:
        return f"{report.stage} done; no quality was measured."
    after = report.after[name]
    text = f"{_capital(title(name))} {with_interval(name, after)} on {_where(report, after)}"
    if name in report.before:
        text += f"; its parent {with_interval(name, report.before[name])}"
    return text + "."


def estimate_sentence(report: Report) -> str:
    """What a cross-fit found; a number with its interval, and that it proves nothing."""
    found, name = report.facts["estimate"], str(primary(report))
    shown = {who: with_interval(name, Measure(**found[who])) for who in ("child", "parent", "baseline") if who in found}
    told = f"{found['n']} rows{' in groups' if found['units'] == 'groups' else ''}, each answered by a model that has not seen it"
    beside = ", ".join(f"{who} {shown[who]}" for who in ("parent", "baseline") if who in shown)
    quality = f"{title(name)} {shown['child']}" + (f" ({beside})" if beside else "")
    if "loss" not in found:
        return f"Cross-fitted in {found['rounds']} rounds: {quality} on {told}. This model has learnt from all rows."
    lost = f"{points(found['loss'])} points ({points(found['low'])} to {points(found['high'])}, two-sided 95 %)"
    return f"No proof, but cross-fitted in {found['rounds']} rounds: models made in this way lose {lost} on {told}; {quality}."


def _capital(text: str) -> str:
    """The text as a sentence begins with it; F1 stays F1."""
    return text[:1].upper() + text[1:]


def _where(report: Report, measure: Measure) -> str:
    rows = ROWS.get(report.facts.get("measured_on", ""), "rows")
    return f"{measure.n} {rows}" if measure.n else rows


def _tested_on(report: Report) -> str:
    """Only rows of the proof role are known to be unseen."""
    proof = report.facts["proof"]
    units = proof.get("units", "rows")
    count = f"{proof['n']}" if units == "rows" else f"{proof['n']} groups of"
    said = {"proof": f"{count} rows no step has seen", "tune": f"{count} tuning rows"}
    return said.get(report.facts.get("measured_on", ""), f"{count} rows")


def _proven(proof: dict[str, Any], rows: str, below: str) -> str:
    word = "Within the floor, but no proof, since the search has used these rows" if "tuning" in rows else "Proven"
    return (
        f"{word}: at most {proof['floor_text']} {below} on {rows} "
        f"(loss {points(proof['loss'])}, upper bound {points(proof['upper'])}; {CONFIDENCE})."
    )


def _missed(proof: dict[str, Any], rows: str) -> str:
    upper = proof["upper"]
    bound = f"{upper:.2f}" if proof["missed_by"] < 0.095 else points(upper)  # 3.04 must not read as the 3.0 that are allowed
    return (
        f"Floor missed by {points(proof['missed_by'])} points: on {rows} the loss is {points(proof['loss'])} points "
        f"and may be as much as {bound} ({CONFIDENCE}), where {proof['floor_text']} were allowed."
    )


def baseline_sentence(report: Report) -> str:
    """How the simplest thing that works compares with the model; empty without one."""
    name = primary(report)
    if name is None or not report.baseline or name not in report.baseline["measures"]:
        return ""
    simple, model = report.baseline["measures"], report.after[name]
    costs = [shown(cost, simple[cost]) for cost in ("bytes", "latency_ms") if cost in simple]
    return (
        f"The baseline on the same rows, {report.baseline['name']}, is {_beside(simple[name], model)}: {shown(name, simple[name])} "
        f"against {with_interval(name, model)}" + (f"; it takes {' and '.join(costs)}" if costs else "") + "."
    )


def _beside(simple: Measure, model: Measure) -> str:
    """A difference counts only where the baseline lies outside the model's 95 % interval."""
    low, high = (model.value if end is None else end for end in (model.low, model.high))
    above, below = (simple.value > high, simple.value < low) if model.better == "higher" else (simple.value < low, simple.value > high)
    if above or below:
        return "better" if above else "worse"
    behind = simple.value < model.value if model.better == "higher" else simple.value > model.value
    return "as good within the interval" if behind else "at least as good"


def size_sentence(report: Report) -> str:
    """Bytes before and after; empty where either is missing."""
    if "bytes" not in report.before or "bytes" not in report.after:
        return ""
    before, after = report.before["bytes"], report.after["bytes"]
    word, factor = ("fewer", before.value / after.value) if after.value <= before.value else ("more", after.value / before.value)
    if round(factor, 2) == 1.0:
        return f"{shown('bytes', after)}, as much as its parent."
    return f"{three_digits(factor)} × {word} bytes: {shown('bytes', before)} before, {shown('bytes', after)} now."


def speed(latency: dict[str, Any]) -> tuple[str, str]:
    """The factor with its interval and its direction: ("8.6", "faster") or ("1.3 (1.1–1.5)", "slower")."""
    value, low, high = latency["ratio"], latency.get("low"), latency.get("high")
    if value < 1:
        value, low, high = 1 / value, high and 1 / high, low and 1 / low
    ends = f" ({three_digits(low)}–{three_digits(high)})" if low and high else ""
    return three_digits(value) + ends, "faster" if latency["ratio"] >= 1 else "slower"


def setup(latency: dict[str, Any]) -> str:
    """How it was timed: 1 thread, batch 1."""
    return f"{latency['threads']} thread{'s' * (latency['threads'] != 1)}, batch {latency['batch']}"


def speed_sentence(report: Report) -> str:
    """Wall time, beside the parent's where there is one, with engine, threads and batch; empty where it was not timed."""
    latency = report.facts.get("latency")
    if not latency:
        return ""
    engine, how = latency["engine"], setup(latency)
    if latency.get("ratio") is None:
        return f"Timed with {engine['child']}, {how}."
    factor, word = speed(latency)
    text = f"{factor} × {word} than its parent: {engine['child']} against {engine['parent']}, {how}, both timed in turns on one machine."
    if latency.get("parent_on_child_engine_ms"):
        text += f" The parent on the model's engine takes {amount('latency_ms', latency['parent_on_child_engine_ms'])}."
    return text


def learnt_sentence(report: Report) -> str:
    """How much of the model was trained, in what time, how that is stored, by which rows without labels; empty where nothing was."""
    training = report.facts.get("training") or {}
    learnt = training.get("learnt")
    if not learnt:
        return ""
    count = amount("parameters", learnt["parameters"])
    which = f"All {count} parameters were trained" if learnt["share"] == 1 else f"{count} parameters were trained"
    beside = "" if learnt["share"] == 1 else f", {share(learnt['share'])} of the number that the model has"
    said = f"{which}{beside}, in {duration(training['seconds'])}."
    rows, tokens = training.get("batch") or (0, 0)
    fitting = f"Batches had at most {rows:,} rows{'' if tokens == rows else f' and {tokens:,} tokens'}, for which memory had room."
    measured = fitting if report.options.get("batch_tokens") == "auto" and tokens else ""
    planned = planned_sentence(training.get("plan"))
    return " ".join(part for part in (said, planned, measured, learnt["note"], _unlabelled(report.facts.get("unlabelled"))) if part)


def planned_sentence(plan: dict[str, Any] | None) -> str:
    """What the plan said of the steps of a training, and what they took; empty where there was none."""
    if not plan:
        return ""
    time = f"{duration(plan['seconds'])} (80 %: {duration(plan['low_s'])} to {duration(plan['high_s'])})"
    memory = amount("bytes", plan["bytes"])
    held = "" if plan["took_bytes"] is None else f" and {amount('bytes', plan['took_bytes'])}"
    return f"Planned by the rates of {plan['on']}: {time} and {memory} of memory; its steps took {duration(plan['took_s'])}{held}."


def _unlabelled(found: dict[str, Any] | None) -> str:
    """From which rows without labels it has learnt, and how; empty where there were none."""
    if not found:
        return ""
    there = f"Beside these there were {found['rows']:,} rows without labels, {found['name']}"
    if "method" not in found:
        return f"{there}, on which the teacher's answers were learnt."
    return (
        f"{there}, for {found['method']}: a model was sure of {found['sure']:,} of them ({share(found['share'])}), with a confidence of at "
        f"least {found['confidence']:g}."
    )


def flips_sentence(report: Report) -> str:
    """How many answers differ from the parent's, and for better or worse; empty where they were not compared."""
    flips = report.facts.get("flips")
    if not flips:
        return ""
    share = Measure(flips["share"]["value"], low=flips["share"].get("low"), high=flips["share"].get("high"))
    turned = f": {flips['worse']} turned wrong, {flips['better']} turned right" if "worse" in flips else ""
    return f"{with_interval('share', share)} of the answers on {flips['n']} rows differ from the parent's{turned}."


def group_sentences(report: Report) -> list[str]:
    """The groups in which the model is worse than its parent beyond noise, each in a sentence; the level is shared out over all groups."""
    groups = (report.facts.get("groups") or {}).get("largest", [])
    tested = [group for group in groups if "chance" in group]
    return [
        f"{group['group']}: worse than the parent beyond noise, of {group['n']} rows {group['worse']} turned wrong, {group['better']} right"
        for group in tested
        if group["chance"] < 0.05 / len(tested)
    ]


def _correlation(measure: Measure) -> str:
    """No share, though it ends at 1: 0.69 (0.64–0.73)."""
    ends = "" if measure.low is None else f" ({measure.low:.2f}–{measure.high:.2f})"
    return f"{measure.value:.2f}{ends}".replace("-", "−")


def reasons_sentences(report: Report) -> list[str]:
    """How far the model's reasons and distributions are the parent's, and whether a second training would have kept them as well."""
    found, apart = report.facts.get("reasons"), report.facts.get("divergence")
    told = []
    if apart:
        told.append(f"Its distributions are {with_interval('divergence', Measure(**apart))} from the parent's (Kullback-Leibler).")
    if not found or "correlation" not in found:
        return told
    kept = Measure(**found["correlation"])
    told.append(
        f"Asked why on {found['n']} rows by {found['method']}, the two rank their reasons alike by {_correlation(kept)} "
        f"(1 is the same), and share {found['overlap']['value']:.0%} of the five most important."
    )
    if "floor" in found:
        again = Measure(**found["floor"]["correlation"])
        own = kept.high is not None and again.low is not None and kept.high < again.low
        said = "so it has reasons of its own, beyond noise" if own else "so a second training would not have kept them much better"
        told.append(f"Two trainings of the parent agree by {_correlation(again)}, {said}.")
    return told


def data_phrase(data: dict[str, Any]) -> str:
    """Which data: name, fingerprint, rows of each role, licence."""
    rows = ", ".join(f"{count} {role}" for role, count in (data.get("rows") or {}).items())
    known = (data.get("name"), short(data.get("fingerprint")), rows, data.get("licence") and f"licence {data['licence']}")
    return ", ".join(str(part) for part in known if part)


def parent_phrase(parent: dict[str, Any] | None) -> str:
    """Which model a step began with."""
    if not parent or not parent.get("path"):
        return "new weights"
    digests = [f"{name} {short(parent[name])}" for name in ("commit", "sha256") if parent.get(name)]
    return ", ".join([str(parent["path"]), *digests])


def parity_phrase(report: Report) -> str:
    """What the parity gate found; empty where the model was not written by this stage."""
    parity = report.facts.get("parity")
    return f"same weights and answers, logits at most {parity['difference']:.1g} apart" if parity else ""


def spent(name: str, value: Any) -> str:
    """An entry of Report.cost in words."""
    return amount(name, value) if isinstance(value, int | float) and not isinstance(value, bool) else setting(value)


def tokenizer_sentence(report: Report) -> str:
    """How the tokenizer that was learnt with the model cuts the rows; empty where none was."""
    facts = report.facts.get("tokenizer")
    if not facts:
        return ""
    return (
        f"Its tokenizer, {facts['kind']} with {facts['vocabulary']:,} pieces learnt from the training rows, makes "
        f"{facts['tokens_per_character']:.2f} tokens a character ({facts['tokens_per_text']:.1f} a text) of the tuning rows; "
        f"{100 * facts['unknown_share']:.2g} % of them are unknown."
    )


def opened_sentence(report: Report) -> str:
    """How often anyone had looked at the proof rows of these data; empty where that is not counted."""
    proof = report.facts.get("proof") or {}
    times = proof.get("opened", report.data.get("proof_opened"))
    if times is None:
        return ""
    return f"The proof rows of these data have been opened {times} time{'s' * (times != 1)}."


def table(report: Report) -> list[tuple[str, str, str, str, str]]:
    """Name, parent, this model, baseline, n of every measure; an empty cell where one was not measured."""
    simple = report.baseline["measures"] if report.baseline else {}
    rows = []
    for name in dict.fromkeys([*report.after, *report.before, *simple]):
        parent, model, plainest = (
            with_interval(name, column[name]) if name in column else "" for column in (report.before, report.after, simple)
        )
        counts = [column[name].n for column in (report.after, report.before, simple) if name in column and column[name].n]
        rows.append((title(name), parent, model, plainest, str(counts[0]) if counts else ""))
    return rows


def groups(report: Report) -> list[tuple[str, str, str, str]]:
    """Group, its rows, the primary measure of parent and model in it, for the largest groups; empty where there are none."""
    name, found = primary(report), report.facts.get("groups") or {"largest": []}
    both = ("parent", "child")
    cells = ([with_interval(str(name), Measure(**part[who])) if who in part else "" for who in both] for part in found["largest"])
    return [(part["group"], str(part["n"]), parent, child) for part, (parent, child) in zip(found["largest"], cells)]


def groups_caption(report: Report) -> str:
    """What the table of groups shows; empty without one."""
    found = report.facts.get("groups")
    if not found:
        return ""
    which = "each" if len(found["largest"]) == found["num_groups"] else f"the {len(found['largest'])} largest of {found['num_groups']:,}"
    return f"{_capital(title(str(primary(report))))} in {which}, rows grouped by {found['column']}; in brackets two-sided 95 % intervals."


def settings(options: dict[str, Any]) -> str:
    """Options as a phrase: bits 4, method gptq; those that hold nothing are left out."""
    kept = {name.replace("_", "-"): value for name, value in options.items() if value not in (None, "", [], {})}
    return ", ".join(f"{n} ({settings(v)})" if isinstance(v, dict) else f"{n} {setting(v)}" for n, v in kept.items())


def setting(value: Any) -> str:
    """One value of an option or of the environment as a phrase."""
    if isinstance(value, dict):
        return settings(value)
    if isinstance(value, list):
        return " ".join(setting(item) for item in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def short(digest: str | None) -> str:
    """The first 12 digits of a hash: enough to tell models apart, short enough to read aloud."""
    return (digest or "")[:12]


def step_facts(step: dict[str, Any]) -> dict[str, str]:
    """A step of a lineage: what a model was made of, how and when; empty text for what is not known."""
    return {
        "from": parent_phrase(step.get("parent")),
        "data": data_phrase(step.get("data") or {}),
        "options": settings(step.get("options") or {}),
        "seed": setting(step.get("seed", "")),
        "versions": settings(step.get("versions") or {}),
        "date": (step.get("date") or "")[:10],
        "key": short(step.get("key")),
    }


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: letters of Chinese, Japanese and Korean take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their heads in at most WIDTH columns of a terminal; columns that no row fills are left out."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    lines = [[row[i] for i in kept] for row in (head, *rows)]
    wide = [max(columns(line[i]) for line in lines) for i in range(len(kept))]
    while sum(wide) + 2 * len(wide) > WIDTH:  # the widest gives way
        wide[wide.index(max(wide))] -= 1
    cut = [[clipped(cell, width) for cell, width in zip(line, wide)] for line in lines]
    padded = ["  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(line, wide)) for line in cut]
    return "\n".join(f"  {line}".rstrip() for line in padded)


def clipped(text: str, most: int) -> str:
    """The end of a text that takes more than `most` columns: what tells paths apart stands there."""
    if columns(text) <= most:
        return text
    while columns(text) > most - 1:
        text = text[1:]
    return "…" + text


def wrapped(text: str) -> str:
    """Text in lines of at most WIDTH columns."""
    narrow = WIDTH - (columns(text) - len(text))  # textwrap takes every letter for one column
    return textwrap.fill(" ".join(text.split()), max(narrow, WIDTH // 2), break_on_hyphens=False)
