"""What every test shares: no network, a cache of its own, few threads, and two small models trained once for the whole run."""

import os
import random
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import pytest
import torch

import penjing
from penjing.engine import gate

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it, and children inherit that


def pytest_collection_modifyitems(items):
    """The longest file first, so that no process waits for it in the end."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Tables and ledgers of the tests go to a folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENJING_CACHE", str(folder))
        yield folder
    gate.close()


GOOD, BAD, REST = (
    ["lovely", "splendid", "warm", "bright"],
    ["dull", "awful", "cold", "broken"],
    ["the", "a", "film", "room", "was", "and", "very", "quite"],
)


def review(draw: random.Random) -> tuple[str, str]:
    """A sentence whose label one word decides."""
    label = draw.choice(("good", "bad"))
    words = [*draw.choices(REST, k=5), draw.choice(GOOD if label == "good" else BAD), str(draw.randrange(10**6))]
    draw.shuffle(words)
    return " ".join(words), label


def write_reviews(path, num_rows, seed=0):
    """A csv of so many reviews, no two alike."""
    draw = random.Random(seed)
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in (review(draw) for _ in range(num_rows))), "utf-8")
    return path


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """1,000 easy reviews as a csv."""
    return write_reviews(tmp_path_factory.mktemp("data") / "reviews.csv", 1000)


@pytest.fixture(scope="session")
def runtime():
    """One thread, no progress: two processes share the tests."""
    return penjing.Runtime(threads=1, quiet=True)


@pytest.fixture(scope="session")
def text_parent(tmp_path_factory, reviews, runtime):
    """A small BERT that has learnt the reviews."""
    out = tmp_path_factory.mktemp("models") / "text"
    penjing.finetune(
        "new:bert-tiny", reviews, task="text-classification", out=out, runtime=runtime, epochs=4, learning_rate=1e-3, precision="fp32"
    )
    return out


@pytest.fixture(scope="session")
def image_parent(tmp_path_factory, runtime):
    """A small residual network that has learnt the digits a little."""
    out = tmp_path_factory.mktemp("models") / "image"
    penjing.finetune(
        "new:resnet-tiny",
        "sklearn:digits",
        task="image-classification",
        out=out,
        runtime=runtime,
        epochs=3,
        learning_rate=3e-3,
        batch_rows=64,
    )
    return out
