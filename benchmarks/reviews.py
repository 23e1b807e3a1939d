"""Tables of any size to read: made-up reviews with labels, words as frequent as in a language, lengths as widely spread as people's.

python benchmarks/reviews.py FILE.csv 2000000000                  bytes of the file, about
python benchmarks/reviews.py FILE.jsonl.gz 5000000000 --words 150
"""

import argparse
import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy

LABELS = ["negative", "neutral", "positive"]
NUM_WORDS = 30_000
SPREAD = 0.6  # of the logarithm of a review's length
_PIECE_ROWS = 10_000


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("bytes", type=int)
    parser.add_argument("--words", type=int, default=30, help="median length of a review")
    given = parser.parse_args()
    print(f"{write(given.file, given.bytes, given.words):,} rows")


def write(path: Path, num_bytes: int, words: int = 30) -> int:
    """Fill `path`, a .csv or .jsonl, also .gz, with about so many bytes; how many rows those are."""
    as_text = _csv if ".csv" in path.suffixes else _json_lines
    num_rows = 0
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw) if path.suffix == ".gz" else raw as file:
        if ".csv" in path.suffixes:
            file.write(b"text,label\n")
        for rows in pieces(words):
            file.write(as_text(rows).encode())
            num_rows += len(rows)
            if raw.tell() >= num_bytes:
                return num_rows
    return num_rows


def pieces(words: int, seed: int = 0) -> Iterator[list[tuple[str, str]]]:
    """Endless rows (text, label), some thousands at a time; each label has words of its own that its reviews hold more often."""
    draw = numpy.random.default_rng(seed)
    known = numpy.array(_vocabulary(draw), dtype=object)
    chances = numpy.cumsum(1 / (2.7 + numpy.arange(len(known))))  # Mandelbrot's law of the frequency of words
    while True:
        lengths = numpy.maximum(1, draw.lognormal(numpy.log(words), SPREAD, _PIECE_ROWS)).astype(int)
        labels = draw.integers(len(LABELS), size=_PIECE_ROWS)
        places = numpy.searchsorted(chances, draw.random(lengths.sum()) * chances[-1])
        owner = numpy.repeat(labels, lengths)
        telling = (places > 100) & (draw.random(len(places)) < 0.2)
        places[telling] -= (places[telling] - owner[telling]) % len(LABELS)  # the nearest word whose rank tells the label
        said = known[places].tolist()
        ends = numpy.cumsum(lengths).tolist()
        yield [(" ".join(said[start:end]), LABELS[label]) for start, end, label in zip([0, *ends], ends, labels.tolist())]


def _vocabulary(draw: numpy.random.Generator) -> list[str]:
    """Words by rank, frequent ones short; some end a clause, some have accents, some are Chinese, some are quoted."""
    syllables = ["".join(parts) for parts in itertools.product("bdfgklmnprstvw", "aeiou", ["", "n", "r", "s"])]
    words = []
    for rank in range(NUM_WORDS):
        word = "".join(draw.choice(syllables, 1 + (rank > 200) + (rank > 3000)))
        word = {0: word + ",", 1: word + ".", 2: word.title()}.get(rank % 12, word)
        words.append({0: f"caf\u00e9{word}", 1: chr(0x4E00 + rank % 20_000), 2: f'"{word}"'}.get(rank % 97, word))
    return words


def _csv(rows: list[tuple[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _json_lines(rows: list[tuple[str, str]]) -> str:
    return "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)


if __name__ == "__main__":
    main()
