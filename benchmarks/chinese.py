"""A small Chinese encoder from nothing, pretrained on the Chinese text of many data sets; benchmarks/text.py fine-tunes it.

    python benchmarks/chinese.py --data FOLDER_OF_DATA_SETS --out FOLDER [--threads N]

The texts of test splits are left out of the corpus, with every text of a training split that stands in one of them. Validation splits are
what the pretraining is measured on.
"""

import argparse
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
from common import conditions, interval, table

import penjing

SIZE = "modernbert-mini"
PRETRAINING = {"epochs": 12, "optimizer": "muon", "learning_rate": 1e-2, "batch_rows": 16}
SETS = (
    "chnsenticorp_hotel",
    "zh_online_shopping",
    "cluener",
    "cmrc2018_zh",
    "csl_title_zh",
    "tang_poems",
    "tatoeba_en_zh",
    "ud_chinese_gsd",
    "ud_chinese_gsdsimp",
)
COLUMNS = ("text", "tokens", "context", "question", "abstract", "title", "zh")
MOST_SHOWN = 600  # texts that a pretraining is measured on


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds chnsenticorp_hotel/ and the others")
    parser.add_argument("--out", type=Path, required=True, help="where corpus and encoder are left")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 for the fastest here")
    given = parser.parse_args()
    corpus, encoder = given.out / "corpus", given.out / "encoder"
    counts = write(given.data, corpus)
    runtime = penjing.Runtime(threads=given.threads)
    start = time.perf_counter()
    _, report = penjing.pretrain(f"new:{SIZE}", corpus, task="fill-mask", out=encoder, runtime=runtime, overwrite=True, **PRETRAINING)
    minutes = (time.perf_counter() - start) / 60
    measures = report.after
    rows = [
        ["corpus", f"{counts['train']:,} texts, {report.facts['corpus']['tokens']:,} tokens", ""],
        [f"new:{SIZE}, parameters", f"{report.facts['parameters']:,}", ""],
        ["masked tokens told on validation texts", interval(measures["accuracy"]), ""],
        ["pretraining", f"{minutes:.0f} minutes", "≤ 60 minutes on 4 cores"],
    ]
    print("\n\n".join(["## Chinese", conditions(), table(["what", "measured", "bar"], rows)]))


def write(data: Path, folder: Path) -> dict[str, int]:
    """A folder with a text a row: train.jsonl, and of the validation texts two samples; how many each holds."""
    folder.mkdir(parents=True, exist_ok=True)
    test = {text for split in ("test", "test_2017") for text in _texts(data, split)}
    train = [text for text in dict.fromkeys(_texts(data, "train")) if text not in test]
    seen = {*train, *test}
    shown = [text for text in dict.fromkeys(_texts(data, "validation")) if text not in seen]
    step = max(1, len(shown) // MOST_SHOWN)
    splits = {"train": train, "validation": shown[::step], "test": shown[1::step]}
    for name, texts in splits.items():
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return {name: len(texts) for name, texts in splits.items()}


def _texts(data: Path, split: str) -> Iterator[str]:
    """Every Chinese text of a split, set after set."""
    for name in SETS:
        for path in sorted((data / name).glob(f"{split}.*")):
            for cell in (row.get(column) for row in _rows(path) for column in COLUMNS):
                for text in [cell] if isinstance(cell, str) else _strings(cell):
                    if text.strip():
                        yield text


def _strings(cell: object) -> list[str]:
    """What a cell of a list says: one text of its characters, or many texts; nothing where it is empty or a number."""
    if not isinstance(cell, list):
        return []
    return ["".join(cell)] if all(len(part) == 1 for part in cell) else cell


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table; of a treebank its sentences, as `text`."""
    if ".conllu" in path.suffixes:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            words = [line.split("\t")[1] if "\t" in line else "\n" for line in file if not line.startswith("#")]
        return [{"text": sentence} for sentence in "".join(words).split("\n")]
    frame = pandas.read_csv(path, dtype=str) if path.suffix == ".csv" else pandas.read_json(path, lines=True, dtype=False)
    return frame.to_dict("records")  # type: ignore[no-any-return,unused-ignore]


if __name__ == "__main__":
    main()
