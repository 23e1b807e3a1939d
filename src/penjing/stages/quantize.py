"""Store a model in a few bits, as the artefact of an engine on which that is really faster."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between
from penjing.core.report import Report
from penjing.core.runtime import Runtime

METHODS = "methods.quantize"


@dataclass(frozen=True)
class Options:
    """How, and by which rows the ranges of activations are found."""

    method: Annotated[str, "how numbers are stored"] = "int8"
    calibration_rows: Annotated[int, "training rows from which ranges are learnt", Between(1, 1_000_000)] = 256
    data: DataOptions = DataOptions()
    settings: Any = None


def quantize(base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """Write the artefact beside the config and the processor; calibrated on train rows, measured on tune rows."""
    from penjing.engine import appraise, deliver, gate, load

    gate.warm_up()
    whole = load.load(base, task, runtime)
    facts = write_artefact(whole, task, data, options, out)
    model = ModelDir(out, {}).record(task=load.task_name(task), labels=task.labels, engine=facts["engine"], precision=facts["precision"])
    parity = deliver.check_artefact(model, task, data.role("tune"), runtime)
    report = appraise.appraise("quantize", model, task, data.role("tune"), "tune", runtime, parent=base)
    report.facts |= {"quantized": facts, "parity": parity, "parameters": whole.parameters}
    return model, report


def write_artefact(whole: Any, task: Task, data: Data, options: Options, out: Path) -> dict[str, Any]:
    """The engine's file, config and processor in `out`; the facts of the method."""
    from penjing.engine.batches import Encoded, measuring_order

    encoded = Encoded(data.role("train", options.calibration_rows), task, whole.processor, labelled=False)
    batches = (encoded.batch(rows) for rows in measuring_order(encoded.lengths, 16, 4096))
    out.mkdir(parents=True, exist_ok=True)
    facts = find(METHODS, options.method).apply(whole.model.eval(), batches, options.settings, out)
    config = {name: value for name, value in whole.model.config.to_diff_dict().items() if name != "auto_map"}  # the engine needs no code
    (out / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n", "utf-8")
    whole.processor.save_pretrained(out)
    return facts
