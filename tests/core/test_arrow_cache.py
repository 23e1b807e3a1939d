"""The cache of tables: what it says while it works, and that it does not begin what cannot end."""

import json
import shutil
from collections import namedtuple

import pytest

from penjing.core import arrow_cache
from penjing.core.errors import OptionError
from penjing.core.examples import read
from penjing.core.progress import told

Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"text {i},a\n" for i in range(1000)))
    return path


@pytest.fixture
def disk_with(monkeypatch):
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**12, 0, free))


def test_a_disk_without_room_is_named_before_anything_is_read(table, disk_with, monkeypatch):
    disk_with(table.stat().st_size // 4)
    monkeypatch.setattr(arrow_cache, "write", None)  # would fail
    with pytest.raises(OptionError, match=r"reviews.csv needs at least 0.0 GB in the cache folder .* 0.0 GB left") as told:
        read(table)
    assert "PENJING_CACHE" in told.value.fix


def test_half_the_size_of_a_text_file_is_room_enough_to_try(table, disk_with):
    disk_with(table.stat().st_size // 2)
    assert len(read(table)) == 1000


def test_a_disk_that_fills_up_on_the_way_is_said_and_leaves_nothing(table, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrow_cache, "_write", full)
    before = set(arrow_cache.cache_folder().rglob("*"))
    with pytest.raises(OptionError, match="No space left on device"):
        read(table)
    assert set(arrow_cache.cache_folder().rglob("*")) - before <= {arrow_cache.cache_folder() / "tables"}


def test_rows_are_counted_aloud_only_where_the_call_is_not_quiet(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("penjing.core.progress.LINE_EVERY_S", 0.0)
    for quiet in (True, False):
        path = tmp_path / f"{quiet}.csv"
        path.write_text("text\n" + "row\n" * 50)
        with told(quiet):
            read(path)
        assert ("rows of False.csv read: 50" in capsys.readouterr().err) is not quiet
    read(table_of(tmp_path / "alone.csv"))
    assert not capsys.readouterr().err


def table_of(path):
    path.write_text("text\nrow\n")
    return path


def test_json_lines_of_one_kind_are_parsed_once_and_others_once_more(tmp_path, monkeypatch):
    calls, parse = [], json.loads
    monkeypatch.setattr("penjing.core.readers.json_lines._BATCH_ROWS", 2)
    monkeypatch.setattr("penjing.core.readers.json_lines.json.loads", lambda text, **words: calls.append(1) or parse(text, **words))
    alike, growing = tmp_path / "alike.jsonl", tmp_path / "growing.jsonl"
    alike.write_text('{"a": 1}\n' * 7)
    growing.write_text('{"a": 1}\n' * 4 + '{"a": 1.5, "b": "x"}\n' * 3)
    assert [row["a"] for row in read(alike)] == [1] * 7 and len(calls) == 7
    calls.clear()
    assert list(read(growing)) == [{"a": 1.0, "b": None}] * 4 + [{"a": 1.5, "b": "x"}] * 3 and len(calls) == 14
