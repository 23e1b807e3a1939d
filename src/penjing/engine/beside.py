"""Steps of a recipe that began with one model and learnt one data set in different ways, beside each other: what each cost and brought."""

from collections.abc import Sequence
from typing import Any

from penjing.core.report import Report
from penjing.engine import markup, plots, words

Steps = Sequence[tuple[str, Report]]
TRAINED = "trained_parameters"


def comparable(steps: Steps) -> Steps:
    """The steps that were fine-tuned from the same model on the same rows as the last of them, as (name, report); none if only one was."""
    plain = [(name, words.plain(report)) for name, report in steps if report.stage == "finetune"]
    tuned = [(name, report) for name, report in plain if report.parent and report.facts.get("training") and words.primary(report)]
    alike = [(name, report) for name, report in tuned if _ground(report) == _ground(tuned[-1][1])]
    return alike if len(alike) > 1 else []


def text(steps: Steps) -> str:
    """The comparison as the terminal shows it; empty where there is nothing to compare."""
    alike = comparable(steps)
    return words.aligned(_head(alike), _rows(alike)) if alike else ""


def section(steps: Steps) -> str:
    """The comparison as HTML: quality against what was trained, and a table; nothing where there is nothing to compare."""
    alike = comparable(steps)
    if not alike:
        return ""
    quality = words.primary(alike[-1][1]) or ""
    points = [_point(name, report, quality) for name, report in alike]
    spoken = "; ".join(f"{name} {cells[1]} with {cells[2]}" for (name, _), (_, *cells) in zip(alike, _rows(alike)))
    what = f"{words.title(quality).capitalize()} on {_measured_on(alike)} against the number of parameters that were trained"
    drawn = plots.trade_off(points, TRAINED, quality, None, name=TRAINED, alt=f"{what}: {spoken}")
    return markup.section(
        2,
        "Beside each other",
        markup.figure(drawn, f"{what}; numbers as in the table, two-sided 95 % intervals."),
        markup.table("", ("", "step", *_head(alike)[1:]), [(str(i), *row) for i, row in enumerate(_rows(alike), 1)], {0, 3, 4, 5, 6}),
    )


def _ground(report: Report) -> tuple[Any, ...]:
    return (report.parent or {}).get("sha256"), report.data["fingerprint"], report.facts["measured_on"], words.primary(report)


def _measured_on(steps: Steps) -> str:
    return words.ROWS[steps[-1][1].facts["measured_on"]]


def _head(steps: Steps) -> tuple[str, ...]:
    return "", "method", f"{words.title(words.primary(steps[-1][1]) or '')}, {_measured_on(steps)}", "trained parameters", "share", "time"


def _rows(steps: Steps) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, report in steps:
        training, quality = report.facts["training"], words.primary(report) or ""
        learnt = training["learnt"]
        cells = (words.amount("parameters", learnt["parameters"]), words.share(learnt["share"]), words.duration(training["seconds"]))
        rows.append((name, report.options["method"], words.with_interval(quality, report.after[quality]), *cells))
    return rows


def _point(name: str, report: Report, quality: str) -> dict[str, Any]:
    """An entry as `plots.trade_off` draws it."""
    measured = report.after[quality]
    trained = report.facts["training"]["learnt"]["parameters"]
    return {"name": name, "status": "trained", TRAINED: trained, "quality": measured.value, "low": measured.low, "high": measured.high}
