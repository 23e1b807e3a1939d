"""The card of a model directory, README.md as the hub reads it, and the same facts as text for the terminal.

`page.py` lists what a stage puts into Report.facts. `meta` is penjing.json with config.json beside it under "config".
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.report import Measure, Report
from penjing.engine import words
from penjing.engine.remarks import quantized_sentence
from penjing.engine.snippet import snippet

HUB = "hf:"  # how the path of a parent says that it came from there
_METRICS = {  # ours -> the hub's id, where they differ
    "macro_f1": "f1",
    "micro_f1": "f1",
    "r2": "r_squared",
    "spearman": "spearmanr",
    "rouge_l": "rouge",
}
_LIBRARIES = {"torch": "transformers", "onnxruntime": "onnx", "openvino": "openvino"}


def card(report: Report, meta: dict[str, Any]) -> str:
    """README.md: what the hub indexes as YAML, then what a reader wants to know, the verdict first."""
    report = words.plain(report)
    parts = [
        f"# {_text(_name(report))}\n\n{_text(words.verdict(report))}\n\n{_text(words.baseline_sentence(report))}",
        _section("Results", _results(report)),
        _section("What it writes", _samples(report)),
        _section("Size and speed", _sentences(words.size_sentence(report), words.speed_sentence(report), quantized_sentence(report))),
        _section("Answers that changed", _text(words.flips_sentence(report))),
        _section("By group", _groups(report)),
        _section("The proof", _proof(report)),
        _section("Use", _use(report, meta)),
        _section("How it was made", "\n\n".join(filter(None, (_text(words.learnt_sentence(report)), _lineage(meta.get("lineage", [])))))),
        _section("Tokenizer", _text(words.tokenizer_sentence(report))),
        _section("Limits and notes", _limits(report)),
        _section("Licences", _licences(report)),
        _section("Environment", _environment(report)),
    ]
    return f"---\n{_front_matter(report, meta)}\n---\n\n" + "\n\n".join(part.strip() for part in parts if part) + "\n"


def _front_matter(report: Report, meta: dict[str, Any]) -> str:
    task, lineage = report.facts.get("task"), meta.get("lineage", [])
    origins = [path for step in lineage if (path := str((step.get("parent") or {}).get("path", ""))).startswith(HUB)]
    licence = (report.parent or {}).get("licence")
    listed = licence is not None and re.fullmatch(r"[a-z0-9.\-]+", licence)  # the hub's own ids; anything else it calls "other"
    results = _eval_results(report)
    data = ModelCardData(
        base_model=origins[-1].removeprefix(HUB) if origins else None,
        library_name=_LIBRARIES[report.model.get("engine", "torch")],
        license=licence if listed else "other" if licence else None,
        license_name=None if listed else licence,
        pipeline_tag=task,
        tags=list(dict.fromkeys(["penjing", *(step["stage"] for step in lineage), report.stage])),
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=_name(report) if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def _eval_results(report: Report) -> list[EvalResult]:
    task, data = report.facts.get("task"), report.data.get("name")
    if not task or not data:
        return []
    return [
        EvalResult(
            task_type=task,
            dataset_type=data.removeprefix(HUB),
            dataset_name=data,
            dataset_split=report.facts.get("measured_on"),
            metric_type=_METRICS.get(name, name),
            metric_name=words.title(name) + (f" (95 % interval {words.interval(name, m)})" if words.interval(name, m) else ""),
            metric_value=m.value,
        )
        for name, m in report.after.items()
        if words.is_quality(name)
    ]


def _name(report: Report) -> str:
    return Path(report.model["path"]).name


def _results(report: Report) -> str:
    rows = words.table(report)
    if not rows:
        return ""
    said = words.ROWS.get(report.facts.get("measured_on", ""), "rows")
    data = f" of {report.data['name']}" if report.data.get("name") else ""
    head = ("", "parent", "this model", report.baseline["name"] if report.baseline else "", "n")
    return _text(f"Quality on {said}{data}; in brackets two-sided 95 % intervals.") + "\n\n" + _table(head, rows)


def _samples(report: Report) -> str:
    rows = [[each.get(name, "") for name in ("text", "parent", "child")] for each in report.facts.get("samples") or []]
    return _table(("beginning", "parent", "this model"), rows) if rows else ""


def _groups(report: Report) -> str:
    rows = words.groups(report)
    return _text(words.groups_caption(report)) + "\n\n" + _table(("group", "n", "parent", "this model"), rows) if rows else ""


def _proof(report: Report) -> str:
    proof = report.facts.get("proof")
    if not proof:
        return ""
    needed = f" {proof['rows_needed']} {proof.get('units', 'rows')} were needed." if proof.get("rows_needed") else ""
    text = f"{proof['method']}; floor {proof['floor_text']}.{needed} {words.opened_sentence(report)}"
    head = ("tested, in this order", "loss", "upper bound", "")
    steps = proof.get("sequence", [])
    rows = [(s["name"], words.points(s["loss"]), words.points(s["upper"]), "proven" if s["passed"] else "failed") for s in steps]
    return _text(text.strip()) + (f"\n\n{_table(head, rows)}" if rows else "")


def _use(report: Report, meta: dict[str, Any]) -> str:
    task = report.facts.get("task")
    if not task:
        return ""
    code = snippet(task, report.model.get("engine", "torch"), str(report.model["path"]), meta["config"], bool(meta.get("writes")))
    brings = " It brings one file of code of its own, which `trust_remote_code=True` lets run; read it first."
    own = brings if "auto_map" in meta["config"] else ""
    return f"Without penjing:{own}\n\n```python\n{code}```"


def _lineage(lineage: Sequence[dict[str, Any]]) -> str:
    facts = [{"step": f"{number}. {step['stage']}", **words.step_facts(step)} for number, step in enumerate(lineage, 1)]
    return _table(list(facts[0]), [list(each.values()) for each in facts]) if facts else ""


def _limits(report: Report) -> str:
    data = report.data.get("name") or "these rows"
    scope = f"All numbers hold for rows like those of {data}; nothing is known of its answers on others."
    opened = "" if report.facts.get("proof") else words.opened_sentence(report)
    return "\n".join(f"- {_text(note)}" for note in (*report.notes, scope, opened) if note)


def _licences(report: Report) -> str:
    parent = (report.parent or {}).get("licence") or "not stated"
    lines = [f"- Parent: {_text(parent)}"] if report.parent else []
    if name := report.data.get("name"):
        lines.append(f"- Data ({_text(name)}): {_text(report.data.get('licence') or 'not stated')}")
    if other := report.facts.get("unlabelled"):
        lines.append(f"- Rows without labels ({_text(other['name'])}): {_text(other['licence'] or 'not stated')}")
    return "\n".join(lines)


def _environment(report: Report) -> str:
    facts = {**report.environment, **{words.title(name): words.spent(name, value) for name, value in report.cost.items()}}
    facts["reloaded elsewhere"] = words.parity_phrase(report)
    return "\n".join(f"- {_text(name)}: {_text(words.setting(value))}" for name, value in facts.items() if value not in ("", None))


def _section(heading: str, body: str) -> str:
    return f"## {heading}\n\n{body}" if body else ""


def _sentences(*sentences: str) -> str:
    return _text(" ".join(sentence for sentence in sentences if sentence))


def _text(text: str) -> str:
    """Any text as one line of Markdown that shows exactly this text."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without the columns that no row fills."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    lines = [[_text(row[i]) for i in kept] for row in (head, *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(kept), *lines[1:]))


def report_of(base: ModelDir) -> Report:
    """The report that lies in a directory.

    Raises ModelError where no stage of penjing wrote one.
    """
    report = Report.read(base.path)
    if report is None:
        raise ModelError(
            f"{base.path} has no report.json",
            wanted="a directory that a stage of penjing wrote",
            fix=f"penjing evaluate {base.path} DATA measures it",
        )
    return report


def summary(report: Report) -> str:
    """What a stage prints when it is done, in at most 100 columns: verdict, quality, bytes, milliseconds, baseline, notes."""
    report = words.plain(report)
    errors = [name for name, measure in report.after.items() if words.is_quality(name) and measure.better == "lower"]
    wanted = {words.title(name) for name in (words.primary(report), *errors, "bytes", "latency_ms") if name}
    rows = [row[:4] for row in words.table(report) if row[0] in wanted]
    head = ("", "parent", "this model", report.baseline["name"] if report.baseline else "")
    parts = [words.wrapped(words.verdict(report)), words.aligned(head, rows) if rows else ""]
    parts += [words.wrapped(f"note: {note}") for note in report.notes]
    return "\n".join(part for part in parts if part)


def difference(a: Report, b: Report) -> str:
    """Two reports side by side, `b` against `a`; says so where they were not measured on the same rows."""
    a, b = words.plain(a), words.plain(b)
    rows = [("stage", a.stage, b.stage, ""), ("engine", *(str(r.model.get("engine", "torch")) for r in (a, b)), "")]
    rows += [("measured on", *(f"{words.ROWS.get(_role(r), 'rows')} of {r.data.get('name', 'unknown data')}" for r in (a, b)), "")]
    for name in dict.fromkeys([*a.after, *b.after]):
        cells = [words.with_interval(name, r.after[name]) if name in r.after else "" for r in (a, b)]
        both = name in a.after and name in b.after
        rows.append((words.title(name), *cells, _change(name, a.after[name], b.after[name]) if both else ""))
    rows += [("sha256", *(words.short(r.model.get("sha256")) for r in (a, b)), "")]
    text = words.aligned(("", str(a.model["path"]), str(b.model["path"]), "difference"), rows)
    same = a.data.get("fingerprint") == b.data.get("fingerprint") and _role(a) == _role(b)
    return text if same else text + "\nnot the same rows: the qualities cannot be compared (penjing compare measures both on the same)"


def _role(report: Report) -> str:
    return report.facts.get("measured_on", "")


def _change(name: str, a: Measure, b: Measure) -> str:
    """Points for a quality in [0, 1], a factor for what counts from zero."""
    if words.is_quality(name):
        gap = b.value - a.value
        sign = "+" if gap > 0 else ""
        return f"{gap:+.4g}" if a.better == "lower" or max(a.value, b.value) > 1 else f"{sign}{words.points(100 * gap)} points"
    if not a.value or not b.value:
        return ""
    factor = b.value / a.value
    return "same" if round(factor, 2) == 1 else f"{words.three_digits(max(factor, 1 / factor))} × {'more' if factor > 1 else 'less'}"
