import re
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import matplotlib
import pytest

from penjing.core.report import Measure, Report
from penjing.engine import plots
from penjing.engine.page import page

EVIL = '</title></style></svg><script>alert("1")</script><img src=x onerror=alert(1)>"\' onload="alert(1)'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Every element with its attributes, the text, and whether all that was opened was closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words, self.crossed = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def read(*reports, title="Digits, made small"):
    return Reader(page([(f"step {i}", *report) for i, report in enumerate(reports)], title))


def headings(text):
    return [unescape(h) for h in re.findall(r"<h2>(.*?)</h2>", text)]


def spoken(text):
    return unescape(re.sub(r"<[^>]+>", "", text)).replace("\u00a0", " ").replace("\u2060", "")


def poisoned(value):
    """The same structure with markup in every text that a user or a file may have written."""
    if isinstance(value, dict):
        return {key: poisoned(item) if key != "status" else item for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return value + EVIL if isinstance(value, str) and value not in ("accuracy", "proof", "tune") else value


def test_nothing_a_user_wrote_becomes_markup(shrunk, finetuned):
    for report, meta in (shrunk, finetuned):
        plain, evil = read((report, meta)), Report(report.stage + EVIL, poisoned(report.model))
        for name in ("parent", "data", "options", "facts", "cost", "notes", "environment"):
            setattr(evil, name, poisoned(getattr(report, name)))
        evil.before, evil.after = report.before, report.after
        evil.baseline = {**report.baseline, "name": report.baseline["name"] + EVIL}
        seen = read((evil, poisoned(meta)), title=EVIL)
        assert {tag for tag, _ in seen.elements} <= {tag for tag, _ in plain.elements} | {"blockquote"}
        assert not seen.all("script") and not any(name.startswith("on") for _, attrs in seen.elements for name in attrs)
        assert not seen.crossed and not seen.open
        assert "".join(seen.words).count('<script>alert("1")</script>') > 10  # shown, not dropped


def test_the_page_asks_the_network_for_nothing(shrunk):
    report, meta = shrunk
    report.facts["differ"][0]["show"] = {"image": "https://example.org/track.png"}
    report.facts["differ"][1]["show"] = {"image": "javascript:alert(1)"}
    text = page([("small", report, meta)], "t")
    seen = Reader(text)
    assert {attrs["src"][:11] for attrs in seen.all("img")} == {"data:image/"} and len(seen.all("img")) == 4
    assert not seen.all("link") and not seen.all("script") and "@import" not in text
    assert all(attrs["href"].startswith("#") for attrs in seen.all("a"))
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in seen.all("meta")[1]["content"]


def test_the_markup_is_well_formed_and_every_id_is_there_once_and_every_reference_leads_somewhere(shrunk, finetuned):
    text = page([("teacher", *finetuned), ("small", *shrunk)], "run")
    seen = Reader(text)
    ids = [attrs["id"] for _, attrs in seen.elements if "id" in attrs]
    assert not seen.crossed and not seen.open
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_the_numbers_on_the_page_are_those_of_the_report(shrunk):
    said = spoken(page([("small", *shrunk)], "t"))
    assert "Proven: at most 3.0 points below its parent on 361 rows no step has seen (loss 0.6, upper bound 2.0; one-sided 95 %)." in said
    for number in (
        "98.1%",
        "96.1–99.1 (95 % interval)",
        "parent 98.6 % (96.8–99.4)",
        "SVC 98.9 % (97.2–99.6)",
        "18.4×",
        "1.13 MB → 61.4 kB",
    ):
        assert number in said
    for number in ("6.16×", "faster (5.80–6.40)", "1.91 ms → 0.31 ms", "2.8%", "6 turned wrong", "4 turned right", "290 were needed"):
        assert number in said


def test_each_figure_says_in_words_what_it_shows(shrunk):
    seen = read(shrunk)
    labels = [attrs["aria-label"] for attrs in seen.all("svg")]
    assert len(labels) == 4 and all(attrs["role"] == "img" for attrs in seen.all("svg"))
    assert (
        "4 quarter-int8 (proven) 97.8 % at 61.4 kB" in labels[0] and "10 sixteenth-int8 (not trained) not trained at 22.0 kB" in labels[0]
    )
    assert "2 SVC (baseline) 98.3 % at 0.21 ms" in labels[1]
    assert "parent: accuracy 98.6 % (96.8–99.4)" in labels[2]
    assert all(attrs["alt"].startswith("digits.csv, row") for attrs in seen.all("img"))


def test_every_candidate_is_in_the_table_and_the_chosen_one_is_marked(shrunk):
    text = page([("small", *shrunk)], "t")
    rows = re.findall(r"<tr[^>]*>.*?</tr>", text)
    for i, point in enumerate(shrunk[0].facts["curve"], 1):
        assert any(f">{i}</th><td>{point['name']}</td>" in row and point["status"] in row for row in rows)
    chosen = [row for row in rows if 'class="chosen"' in row]
    assert len(chosen) == 1 and "quarter-int8" in chosen[0]


def test_the_floor_is_drawn_at_the_parents_tuning_quality_less_the_floor():
    points = [
        {"name": "p", "status": "parent", "bytes": 200, "quality": 0.9},
        {"name": "c", "status": "proven", "bytes": 100, "quality": 0.8},
    ]
    svg = plots.trade_off(points, "bytes", "accuracy", 0.85, name="f", alt="")
    heights = {k: float(y) for k, y in zip(("p", "c"), re.findall(r'<use xlink:href="#f-m\w+" x="[\d.]+" y="([\d.]+)"', svg)[-2:])}
    line = float(re.search(r'd="M [\d.]+ ([\d.]+) \nL [\d.]+ \1 \n?"[^>]*stroke-dasharray[^>]*var\(--failed\)', svg)[1])
    assert line == pytest.approx((heights["p"] + heights["c"]) / 2, abs=0.1)  # half way between 0.9 and 0.8


def test_a_report_that_lacks_a_part_has_no_empty_section(finetuned):
    text = page([("hotel", *finetuned)], "酒店")
    assert headings(text) == ["Quality", "Where it is right and wrong", "Training", "How it was made", "Conditions"]
    assert not re.search(r"<(p|dl|figure|section|aside|div|table|ul)[^>]*>\s*</\1>", text)
    bare = Report("export", {"path": "m", "sha256": "ab" * 32})
    text = page([("bare", bare, {})], "bare")
    assert headings(text) == [] and "export done; no quality was measured." in text
    assert not re.search(r"<(p|dl|figure|section|aside|div|table|ul)[^>]*>\s*</\1>", text)


def test_the_proven_step_comes_first_and_all_steps_are_listed(shrunk, finetuned):
    text = page([("teacher", *finetuned), ("small", *shrunk), ("again", *finetuned)], "run")
    assert re.findall(r'<article id="(step-\d)">', text) == ["step-1", "step-0", "step-2"]
    assert re.findall(r'<li><a href="#(step-\d)">(\w+)</a>', text) == [("step-0", "teacher"), ("step-1", "small"), ("step-2", "again")]


def test_headings_go_down_one_level_at_a_time(shrunk, finetuned):
    for text in (page([("small", *shrunk)], "t"), page([("a", *finetuned), ("b", *shrunk)], "t")):
        levels = [int(n) for n in re.findall(r"<h(\d)>", text)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_same_reports_give_the_same_bytes_and_leave_matplotlib_as_it_was(shrunk, finetuned):
    steps = [("a", *shrunk), ("b", *finetuned)]
    before = dict(matplotlib.rcParams)
    first = page(steps, "t")
    assert page(steps, "t") == first
    assert page([(name, Report.from_json(r.to_json()), meta) for name, r, meta in steps], "t") == first
    assert dict(matplotlib.rcParams) == before


def test_chinese_stays_text_in_figures_and_tables(finetuned):
    report, meta = finetuned
    points = [("模型", "parent", 0.9, 200_000), ("支持向量机", "baseline", 0.88, 90_000)]
    report.facts["curve"] = [{"name": n, "status": s, "quality": q, "bytes": b} for n, s, q, b in points]
    text = page([("酒店", report, meta)], "酒店评论")
    assert re.search(r"<text[^>]*>支持向量机</text>", text) and "房间很干净" in text and "font-family: 'DejaVu" not in text


def test_confusions_are_counted_as_they_were_and_the_diagonal_is_marked(finetuned):
    text = page([("hotel", *finetuned)], "t")
    assert re.findall(r'<td class="(right|wrong|none)" style="--share:([\d.]+)">(\d+)</td>', text) == [
        ("right", "0.783", "188"), ("wrong", "0.217", "52"), ("wrong", "0.041", "22"), ("right", "0.959", "514"),
    ]  # fmt: skip


def test_with_many_labels_the_most_frequent_confusions_are_listed(finetuned):
    report, meta = finetuned
    counts = [[9 if i == j else 0 for j in range(30)] for i in range(30)]
    counts[3][7], counts[12][1] = 5, 8
    report.facts["confusion"] = {"labels": [f"label {i}" for i in range(30)], "child": counts}
    text = page([("hotel", report, meta)], "t")
    assert 'class="matrix"' not in text
    found = re.findall(r'<th scope="row">(label \d+)</th><td>(label \d+)</td><td class="n">0</td><td class="n">(\d)</td>', text)
    assert found == [("label 12", "label 1", "8"), ("label 3", "label 7", "5")]


def test_a_measure_that_got_slower_or_larger_says_so(shrunk):
    report, meta = shrunk
    report.after["bytes"] = Measure(2_264_000, "bytes", better="lower")
    report.facts["latency"] |= {"ratio": 0.5, "low": 0.4, "high": 0.8}
    said = spoken(page([("small", report, meta)], "t"))
    assert "2.00×more bytes" in said and "2.00×slower (1.25–2.50)" in said


def colours(css):
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6}|#[0-9a-f]{3})\b", css))


def contrast(a, b):
    """WCAG 2.2, relative luminance."""

    def light(colour):
        full = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(full[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["light", "dark", "print"])
def test_every_colour_that_carries_meaning_is_legible(mode):
    css = files("penjing.engine").joinpath("page.css").read_text("utf-8")
    palette = colours(css.split(":root {")[mode + 1].split("}")[0])
    assert set(plots.INK) <= set(palette)
    for role in plots.INK.keys() - {"rule"}:
        assert contrast(palette[role], palette["paper"]) >= 4.5, role
    if mode == 0:
        assert {role: palette[role] for role in plots.INK} == plots.INK
