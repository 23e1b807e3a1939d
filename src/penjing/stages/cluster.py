"""Find the topics of a collection: clusters of its texts as an encoder sees them, each told by its words."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy

from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError, need
from penjing.core.examples import spread
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between
from penjing.core.progress import say
from penjing.core.report import Report
from penjing.core.runtime import Runtime

if TYPE_CHECKING:
    from penjing.tasks.topic_modeling import TopicModeling

MOST_ROWS = 50_000  # texts that are clustered, evenly spread: centres and words gain nothing from more
TRIED = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
STARTS = 4  # of k-means, the best of which holds
SILHOUETTE_ROWS = 2000  # it compares each with each


@dataclass(frozen=True)
class Options:
    """Into how many topics, and how they are told."""

    task: Annotated[Literal["topic-modeling"], "what the model shall do"] = "topic-modeling"
    topics: Annotated[
        int | Literal["auto"],
        f"how many; auto: of {', '.join(map(str, TRIED))} the number with the best mean silhouette",
        Between(2, 10_000),
    ] = "auto"
    words: Annotated[int, "words that tell a topic", Between(2, 100)] = 10
    chinese: Annotated[Literal["bigrams", "words"], "what words are in Chinese: every two characters, or as rjieba cuts them"] = "bigrams"
    data: DataOptions = DataOptions()


def cluster(base: ModelDir, task: "TopicModeling", data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """k-means over the train rows; the encoder learns nothing, and is written with the centres and words of the topics in its config.

    Raises DataError for fewer texts than topics, MissingExtra where Chinese words are asked for without the library.
    """
    from penjing.engine import appraise, deliver, embed, gate, load

    if options.chinese == "words":
        need("rjieba", "chinese")
    train, tune = data.role("train", MOST_ROWS), data.role("tune")
    texts, least = train.column("text"), TRIED[0] + 1 if options.topics == "auto" else options.topics
    if (different := len({*texts})) < least:
        few = f"{data.examples.name}: {different:,} different texts among the train rows are too few for topics"
        raise DataError(few, wanted=f"at least {least:,}", fix="pass more rows, or lower --topics")
    gate.warm_up()
    loaded = load.load(base, task, runtime)
    numbers, centres, tried = _clusters(embed.embed(loaded, train, task.vectors, runtime), options.topics, runtime)
    task = task.with_clusters(texts, numbers, centres, options.words, options.chinese)
    names = dict(enumerate(task.labels))
    loaded.task = task
    loaded.model.config.update({**task.decision, "id2label": names, "label2id": {name: i for i, name in names.items()}})
    model, parity = deliver.save_checked(loaded, tune, out, runtime)
    report = appraise.appraise("cluster", model, task, tune, "tune", runtime)
    report.facts |= {"parity": parity, "parameters": loaded.parameters, "silhouettes": tried}
    report.facts["topics"] = [{"words": words, "rows": rows} for words, rows in zip(task.topics["words"], numpy.bincount(numbers).tolist())]
    if (there := data.roles.counts["train"]) > len(train):
        report.notes.append(f"topics of {len(train):,} of the {there:,} train rows, evenly spread")
    return model, report


def _clusters(vectors: numpy.ndarray, topics: int | str, runtime: Runtime) -> tuple[numpy.ndarray, numpy.ndarray, dict[int, float]]:
    """The number of each row's cluster (n,), the centres (K, D), and for each K that was tried the mean silhouette; none for an only one.

    vectors   (n, D)

    Source: Lloyd 1982; Rousseeuw 1987, "Silhouettes"
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    def fitted(number: int) -> Any:
        return KMeans(number, n_init=STARTS, random_state=runtime.seed).fit(vectors)

    tried: dict[int, float] = {}
    if topics == "auto":
        some, found = spread(len(vectors), SILHOUETTE_ROWS), {number: fitted(number) for number in TRIED if number < len(vectors)}
        tried = {number: float(silhouette_score(vectors[some], each.labels_[some])) for number, each in found.items()}
        number = max(tried, key=lambda number: tried[number])
        say(f"{number} topics have the best silhouette of {len(tried)} numbers that were tried", runtime.quiet)
    best = found[number] if tried else fitted(int(topics))
    kept, numbers = numpy.unique(best.labels_, return_inverse=True)  # texts that an encoder takes for one may leave some without
    return numbers, best.cluster_centers_[kept], tried
