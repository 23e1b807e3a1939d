"""What a stage tells: measures with their intervals, and everything a card needs to say where they come from."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Measure:
    """A measured number.

    low, high   ends of its two-sided 95 % interval, None where it has none (a count of bytes)
    n           how many rows or repeats it is over
    better      "higher" or "lower"
    """

    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    better: str = "higher"


@dataclass
class Report:
    """One stage's account; `report.json` holds it whole, the card and the page are drawn from it.

    model, parent   {"path", "sha256", "engine", ...}; parent None where there was none
    data            {"name", "fingerprint", "licence", "rows": {role: count}, "proof_opened": times}
    before, after   measures by name of the parent and of the model, on the rows that `facts["measured_on"]` names
    baseline        {"name", "measures": {name: Measure}}: the simplest thing that works on the same rows
    facts           what the stage found out: flips, curve of the search, confusion, what the method did
    cost            {"seconds", "peak_memory_bytes", ...}
    notes           plain sentences a reader must not miss
    extra           fields of a later schema, kept as they are
    """

    stage: str
    model: dict[str, Any]
    parent: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Measure] = field(default_factory=dict)
    after: dict[str, Measure] = field(default_factory=dict)
    baseline: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report for programs; unknown fields that were read come out again."""
        plain = asdict(self)
        return json.dumps({**plain.pop("extra"), **plain}, ensure_ascii=False, indent=1, default=str)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`, for this schema and for later ones that only add."""
        plain = json.loads(text)
        known = {f.name for f in fields(cls)} - {"extra"}
        report = cls(**{name: value for name, value in plain.items() if name in known})
        report.extra = {name: value for name, value in plain.items() if name not in known}
        report.before, report.after = _measures(report.before), _measures(report.after)
        if report.baseline:
            report.baseline = {**report.baseline, "measures": _measures(report.baseline["measures"])}
        return report

    @classmethod
    def read(cls, folder: Path) -> "Report | None":
        """The report of a model directory; None where no stage of penjing wrote one."""
        path = Path(folder) / "report.json"
        return cls.from_json(path.read_text("utf-8")) if path.exists() else None


def _measures(plain: dict[str, Any]) -> dict[str, Measure]:
    known = {f.name for f in fields(Measure)}
    return {name: Measure(**{k: v for k, v in m.items() if k in known}) for name, m in plain.items()}
