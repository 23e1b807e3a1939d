"""Running text: the passages of a file are the file, whatever its size, language and line ends."""

import gzip

import pytest

from penjing.core.errors import DataError
from penjing.core.examples import read
from penjing.core.readers import plain_text

PROSE = "".join(f"Line {i} of a story, which goes on.\n" + "\n" * (i % 7 == 0) for i in range(3000))
CHINESE = "".join(f"第{i}回，話說天下大勢。分久必合，合久必分。" for i in range(2000))  # one line, without a space


def passages(path):
    return list(read(path))


@pytest.mark.parametrize(
    "text", [PROSE, CHINESE, "short", "no end of line\nat the end", "\n\n  begins late\n", PROSE[:5000] + CHINESE + PROSE]
)
def test_passages_one_after_the_other_are_the_file_to_the_letter(tmp_path, text):
    (tmp_path / "story.txt").write_text(text, "utf-8")
    rows = passages(tmp_path / "story.txt")
    assert "".join(row["text"] for row in rows) == text
    assert all(row["text"].strip() and len(row["text"]) <= 4 * plain_text.MOST for row in rows)


def test_before_a_passage_stands_the_end_of_what_came_before(tmp_path):
    (tmp_path / "story.txt").write_text(PROSE, "utf-8")
    done = ""
    for row in passages(tmp_path / "story.txt"):
        assert row["before"] == done[-plain_text.BEFORE :]
        done += row["text"]


def test_a_passage_ends_with_a_line_and_a_small_file_still_has_many(tmp_path):
    (tmp_path / "story.txt").write_text(PROSE, "utf-8")
    rows = passages(tmp_path / "story.txt")
    assert all(row["text"].endswith("\n") for row in rows)
    assert 0.5 * plain_text.ROWS < len(rows) < 2 * plain_text.ROWS


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_part_of_the_text(tmp_path):
    (tmp_path / "story.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert "".join(row["text"] for row in passages(tmp_path / "story.txt")) == "one\ntwo\n"


def test_a_place_is_the_first_line_of_a_passage_and_gzip_makes_no_difference(tmp_path):
    (tmp_path / "story.txt.gz").write_bytes(gzip.compress(PROSE.encode()))
    rows = read(tmp_path / "story.txt.gz")
    lines = "".join(row["text"] for row in rows[:3]).count("\n")
    assert rows.place(3) == f"story.txt.gz, line {1 + lines}"


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "the file is empty"), (b" \n \n", "no text"), (b"fine\ntr\xe8s bon\n", "line 2, byte 7")]
)
def test_what_is_no_text_is_refused(tmp_path, content, said):
    (tmp_path / "story.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "story.txt")


def test_a_split_is_named_by_the_last_part_of_a_name_and_a_note_beside_a_table_is_no_rows(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"ptb.{split}.txt").write_text(f"text of {split}\n", "utf-8")
    (tmp_path / "licence.txt").write_text("free\n", "utf-8")
    rows = read(tmp_path)
    assert [row["text"] for row in rows] == ["text of train\n", "text of valid\n", "text of test\n"]
    assert [part.split for part in rows.parts] == ["train", "validation", "test"]


def test_the_documentation_of_python_is_read_topic_by_topic():
    from pydoc_data.topics import topics

    rows = list(read("python:docs"))
    assert "".join(row["text"] for row in rows if row["topic"] == "assignment") == topics["assignment"]
    assert {row["topic"] for row in rows} == set(topics) and read("python:docs").fingerprint == read("python:docs").fingerprint
    assert "topic assert, line 1" in read("python:docs").place(0)
    with pytest.raises(DataError, match="no data called 'python:doc'") as error:
        read("python:doc")
    assert "'python:docs'" in error.value.wanted
