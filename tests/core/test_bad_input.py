"""Whatever is wrong with data is said before work begins: file, row and column, what was wanted, what to do next."""

import gzip
import io
import json
import os
import struct
import zipfile

import numpy
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from penjing.core.errors import DataError
from penjing.core.examples import read
from penjing.core.image import Image
from penjing.core.sound import Sound
from penjing.core.spelling import alike

GOOD = "text,label\n" + "good,1\n" * 3


def refused(path, *words, columns=None, split=None):
    """The message of the error that reading gives; it holds all of `words`, in their order."""
    with pytest.raises(DataError) as caught:
        read(path, split).require(columns or {})
    message, place = str(caught.value), 0
    for word in words:
        assert word in message[place:], message
        place = message.index(word, place) + len(word)
    return message


def file(folder, content, name="reviews.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


CSV = [
    ("empty", b"", ["reviews.csv: the file is empty"]),
    ("only blank lines", b"\n\n\n", ["only blank lines", "a header row"]),
    ("only a header", b"text,label", ["only a header, no rows"]),
    ("only a header and its line end", b"text,label\r\n", ["only a header, no rows"]),
    ("a long row", GOOD + "a,b,c\n", ["reviews.csv, row 5: 3 values, the header names 2", "2 values a row", "quotes"]),
    ("a short row", GOOD + "a\n" + GOOD, ["row 5: 1 values, the header names 2"]),
    ("a pair of stray quotes", GOOD + '"a\nb,1\nc",\n"x\ny\n', ["row 6: a quote is opened and never closed"]),
    ("quotes that swallow rows", GOOD + '"a,1\nb,0\nc"d,1,0\n', ["row 5: 3 values and runs over 3 lines"]),
    ("an open quote in the first column", GOOD + '"a,1\nb,0\n', ["row 5: a quote is opened and never closed", "in pairs"]),
    ("an open quote in the last column", GOOD + 'a,"1\nb,0\n', ["row 5: a quote is opened and never closed", "close it"]),
    ("an open quote before the end of the file", GOOD + 'a,"1', ["row 5: a quote is opened and never closed"]),
    ("an open quote in the header", 'text,"label\n' + "good,1\n" * 30_000, ["row 1: a quote is opened and never closed"]),
    ("a NUL byte", GOOD + "a\0b,1\n", ["row 5: a NUL byte (byte 33)", "tr -d"]),
    ("two columns of one name", "text,label, text\na,b,c\n", ["row 1: columns 1 and 3 are both called 'text'", "rename"]),
    ("two columns without a name", ",,text\na,b,c\n", ["columns 1 and 2 are both called ''"]),
    (
        "Chinese in GB 18030",
        GOOD.encode() + "很好,1\n".encode("gb18030"),
        ["row 5, byte 32", "gb18030", "iconv -f gb18030 -t utf-8 reviews.csv"],
    ),
    ("French in Latin 1", GOOD.encode() + "très bon été,1\n".encode("latin1"), ["row 5, byte 34", "latin1", "iconv -f latin1"]),
    ("UTF-16", GOOD.encode("utf-16"), ["is not UTF-8", "utf-16", "iconv -f utf-16"]),
    ("UTF-16 without a byte order mark", GOOD.encode("utf-16-le"), ["row 1: a NUL byte"]),
    ("values parted by semicolons", "text;label\na;1\n", ["row 1: the header is one column, 'text;label'", "parted by ';'", ".tsv"]),
    ("a header in Latin 1", "text,étiquette\na,1\n".encode("latin1"), ["row 1, byte 5"]),
    ("bad bytes below a value of two lines", GOOD.encode() + b'"a\nb",1\n\xff,1\n', ["row 6, byte 40"]),
]


@pytest.mark.parametrize("content, words", [case[1:] for case in CSV], ids=[case[0] for case in CSV])
def test_a_csv_that_cannot_be_read_is_refused_with_its_row(tmp_path, content, words):
    refused(file(tmp_path, content), *words)


def test_bad_bytes_are_counted_right_across_pieces(tmp_path, monkeypatch):
    """A character of three bytes lies across the border of two pieces, just before the bad one."""
    content = GOOD.encode() + "很好很好".encode() + b"\xff,1\n"
    for size in range(1, 12):
        monkeypatch.setattr("penjing.core.readers.source_file._PIECE_BYTES", size)
        refused(file(tmp_path, content), f"row 5, byte {content.index(255)}:")


def test_an_open_quote_far_from_the_end_of_a_large_file_names_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.core.readers.delimited._BLOCK_BYTES", 1024)
    refused(file(tmp_path, GOOD + 'a,"1\n' + "b,0\n" * 1000), "row 5: a quote is opened and never closed")


def test_bad_bytes_in_a_gzipped_file_are_converted_by_a_command_that_unpacks(tmp_path):
    refused(file(tmp_path, gzip.compress(GOOD.encode() + b"\xb5,1\n"), "a.csv.gz"), "row 5, byte 32", "gunzip -c a.csv.gz | iconv")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.parquet.gz"])
@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: b"text,label\ngood,1\n"])
def test_damaged_gzip_is_refused(tmp_path, name, damage):
    content = b'{"a": 1}\n' * 1000 if "jsonl" in name else GOOD.encode() * 100
    refused(file(tmp_path, damage(gzip.compress(content)), name), f"{name}: damaged gzip", "gzip -t")


JSONL = [
    ("no JSON", '{"a": 1}\n\n{"a": 1,}\n', ["a.jsonl, line 3: not JSON", "one object a line"]),
    ("no object", '{"a": 1}\n"good"\n', ["line 2", "is not an object"]),
    ("an empty object", "{}\n", ["line 1", "is not an object with values"]),
    ("one list", '[{"a": 1}]', ["line 1", "is not an object", "jq -c"]),
    ("no rows", "\n\n", ["a.jsonl: no rows"]),
    ("mixed types in a batch", '{"a": 1}\n{"a": 2}\n{"a": "x"}\n', ["line 3: a 'x' cannot be stored", "the lines above hold int64"]),
    ("mixed types of lists", '{"a": ["x"]}\n{"a": [1]}\n', ["line 2: a '[1]' cannot be stored"]),
    ("half a character", '{"a": "\\ud83d"}\n', ["line 1: a '\\ud83d' cannot be stored"]),
    ("a number beyond 64 bits", '{"a": 1}\n{"a": 99999999999999999999}\n', ["line 2: a '99999999999999999999' cannot be stored"]),
    ("a name twice", '{"a": 1}\n{"a": 1, "b": {"c": 1, "c": 2}}\n', ["line 2: the name 'c' is there twice", "correct the line"]),
    ("a NUL byte", b'{"a": "x\0"}\n', ["line 1: not JSON", "control character"]),
    ("UTF-16", '{"a": "x"}\n'.encode("utf-16"), ["is not UTF-8", "iconv -f utf-16"]),
    ("wrong encoding", b'{"a": "x"}\n{"a": "\xb5"}\n', ["a.jsonl, line 2, byte 18", "iconv"]),
]


@pytest.mark.parametrize("content, words", [case[1:] for case in JSONL], ids=[case[0] for case in JSONL])
def test_json_lines_that_cannot_be_read_are_refused_with_their_line(tmp_path, content, words):
    refused(file(tmp_path, content, "a.jsonl"), *words)


def test_mixed_types_are_found_between_batches_too(tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.core.readers.json_lines._BATCH_ROWS", 2)
    content = "\n".join(json.dumps({"a": value}) for value in (1, 2, 3, 4, "x"))
    refused(file(tmp_path, content, "a.jsonl"), "line 5: a 'x' cannot be stored")


def test_a_parquet_file_that_is_none_or_is_damaged_is_refused(tmp_path):
    refused(file(tmp_path, GOOD * 10, "a.parquet"), "a.parquet: not a complete parquet file")
    pyarrow.parquet.write_table(pyarrow.table({"a": numpy.random.default_rng(0).integers(0, 2**60, 10_000)}), tmp_path / "b.parquet")
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    content[4:2000] = b"\xff" * 1996
    refused(file(tmp_path, bytes(content), "b.parquet"), "b.parquet: not a complete parquet file")
    pyarrow.parquet.write_table(pyarrow.table({"a": pyarrow.array([], pyarrow.int64())}), tmp_path / "c.parquet")
    refused(tmp_path / "c.parquet", "c.parquet: no rows")
    twice = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], ["a", "a"])
    pyarrow.parquet.write_table(twice, tmp_path / "d.parquet")
    refused(tmp_path / "d.parquet", "more than one column is called 'a'")


def test_a_missing_column_names_the_nearest_and_those_that_are_there(tmp_path):
    path = file(tmp_path, "txt,label\ngood,1\n")
    refused(path, "reviews.csv: no column 'text'", "'txt' or 'label'", "--columns text=", columns={"text": str})
    with pytest.raises(DataError, match=r"no column 'lable'(.|\n)*'label'"):
        read(path).column("lable")


def test_a_column_missing_in_one_split_names_its_file(tmp_path):
    file(tmp_path, GOOD, "train.csv")
    file(tmp_path, "text\ngood\n", "test.csv")
    refused(tmp_path, f"{tmp_path.name}/test.csv: no column 'label'", columns={"text": str, "label": str})


def test_empty_values_are_counted_and_the_first_is_named(tmp_path):
    path = file(tmp_path, "text,label\ngood,1\n  ,1\n,0\n")
    refused(path, "reviews.csv, row 3: text is empty (and 1 more)", "text", "take it out", columns={"text": str})
    path = file(tmp_path, '{"tokens": ["a"]}\n{"tokens": []}\n{"tokens": null}\n', "a.jsonl")
    refused(path, "a.jsonl, line 2: tokens is empty (and 1 more)", "lists", columns={"tokens": list})
    path = file(tmp_path, '{"text": null}\n{"text": null}\n', "b.jsonl")
    refused(path, "b.jsonl, line 1: text is empty (and 1 more)", columns={"text": str})


def test_values_that_are_no_numbers_are_named(tmp_path):
    path = file(tmp_path, "age,income\n3,1e3\n3.5,many\n")
    refused(path, "row 3: age '3.5' cannot be read as whole numbers", columns={"age": int})
    refused(path, "row 3: income 'many' cannot be read as numbers", columns={"income": float})
    for value in ("nan", "inf", "1e39", "1e999", " "):
        refused(file(tmp_path, f"age,x\n3.4e38,x\n{value},x\n"), "row 3: age", columns={"age": float})
    for value in (float("nan"), float("-inf"), 1e300):
        refused(
            file(tmp_path, json.dumps({"age": 1.5}) + "\n" + json.dumps({"age": value}), "a.jsonl"), "line 2: age", columns={"age": float}
        )


def test_labels_that_are_neither_words_nor_whole_numbers_are_refused(tmp_path):
    for value, words in {"[0.5]": "list<item: double>", '[["a"]]': "list<item: list", '[{"a": 1}]': "list<item: struct"}.items():
        refused(file(tmp_path, f'{{"tags": {value}}}\n', "a.jsonl"), f"column 'tags' holds {words}", columns={"tags": set})
    for value in ('[""]', '["a", " "]', '["a", null]'):
        refused(file(tmp_path, f'{{"tags": []}}\n{{"tags": {value}}}\n', "a.jsonl"), "a.jsonl, line 2: tags", columns={"tags": set})


def test_a_column_of_another_type_is_refused_whole(tmp_path):
    path = file(tmp_path, '{"text": ["a"], "label": 1.5}\n', "a.jsonl")
    refused(path, "a.jsonl: column 'text' holds list", "text", columns={"text": str})
    refused(path, "a.jsonl: column 'label' holds double", "text", columns={"label": str})


def test_a_path_to_no_image_is_found_before_work_begins(tmp_path):
    PIL.Image.new("L", (2, 2)).save(tmp_path / "1.png")
    path = file(tmp_path, "image,label\n1.png,a\n2.png,a\n")
    refused(path, "reviews.csv, row 3: image '2.png' names no file", columns={"image": Image})


def test_a_damaged_image_is_refused_with_its_place(tmp_path):
    PIL.Image.effect_noise((64, 64), 50).save(tmp_path / "good.png")
    content = (tmp_path / "good.png").read_bytes()
    table = pyarrow.table({"image": [content, content[: len(content) // 2], b"GIF89a", b"not an image"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for row in (2, 3, 4):
        with pytest.raises(DataError, match=f"a.parquet, row {row}: damaged image(.|\n)*take out the row"):
            read(tmp_path / "a.parquet")[row - 1]["image"].image()


def test_an_image_bomb_is_refused_with_its_place(tmp_path, monkeypatch):
    PIL.Image.new("1", (100, 100)).save(tmp_path / "1.png")
    path = file(tmp_path, "image\n1.png\n")
    for limit in (9_000, 4_000):  # Pillow warns beyond the limit and raises beyond twice the limit
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"reviews.csv, row 2: the image is too large(.|\n)*at most"):
            read(path)[0]["image"].image()


def test_a_damaged_zip_archive_is_refused(tmp_path):
    file(tmp_path, b"PK not really", "train.zip")
    refused(tmp_path, "train.zip: not a complete zip archive", "unzip -t")


@pytest.mark.parametrize("place, words", [("1.png", "is in no class folder"), ("animals/cat/1.png", "is 2 folders deep")])
def test_an_image_that_is_not_in_one_class_folder_is_refused(tmp_path, place, words):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("dog/1.png", b"")
        archive.writestr(place, b"")
    refused(tmp_path, f"{place}: this image {words}", "<class>/<image>")


def test_a_folder_with_nothing_to_read_says_what_it_holds(tmp_path):
    refused(tmp_path, "nothing to read in this folder; it holds nothing")
    file(tmp_path, "x", "notes.txt")
    refused(tmp_path, "it holds notes.txt", ".csv, .tsv, .jsonl, .parquet")


def test_a_folder_of_several_tables_asks_which(tmp_path):
    for name in ("reviews.csv", "films.csv"):
        file(tmp_path, GOOD, name)
    refused(tmp_path, "2 tables, none of them named as a split", "'films.csv'", "'reviews.csv'")
    assert len(read(tmp_path, split="films")) == 3


def test_two_files_for_one_split_are_refused(tmp_path):
    for name in ("train.csv", "dev.csv", "valid.csv"):
        file(tmp_path, GOOD, name)
    refused(tmp_path, "both dev.csv and valid.csv are the validation split")


def test_a_split_that_is_not_there_names_the_nearest(tmp_path):
    for name in ("train.csv", "test.csv"):
        file(tmp_path, GOOD, name)
    refused(tmp_path, "no split called 'tset'", "'test'", split="tset")
    refused(tmp_path / "train.csv", "train.csv is one file, it has no split 'test'", "name the folder", split="test")


def test_a_mistyped_path_names_the_nearest_in_the_deepest_folder_there_is(tmp_path):
    file(tmp_path, GOOD, "reviews.csv")
    refused(tmp_path / "reveiws.csv", "no file or folder", str(tmp_path), "'reviews.csv'", "correct the path")
    refused(tmp_path / "reviews" / "deep" / "train.csv", "no file or folder", "'reviews.csv'")


def test_what_is_no_file_of_rows_is_refused(tmp_path):
    refused(file(tmp_path, "x", "model.bin"), "model.bin: not a file of rows", ".parquet")
    refused("hf:org/name", "not fetched from the hub", "download")
    refused("sklearn:digit", "no data called 'sklearn:digit'", "sklearn:digits")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_packed_table_that_grows_like_a_bomb_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr("penjing.core.archives.ALWAYS_ALLOWED_BYTES", 1000)
    row = b'{"text": "good"}\n' if "jsonl" in name else b"text\n"
    refused(file(tmp_path, gzip.compress(row * 200_000), name), f"{name}: grows beyond ", "at most 100 times", "gunzip it yourself")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    refused(tmp_path / "a.csv", "a.csv: not a file of rows")


PATHS_OUT = {
    "a path above": ("../1.png", "leads out of the folder"),
    "the file of passwords": ("../../../../../../../../etc/passwd", "leads out of the folder"),
    "an absolute path": ("/etc/passwd", "leads out of the folder"),
    "a link": ("link.png", "leads out of the folder"),
    "a name too long": ("a" * 300 + ".png", "names no file"),
}


@pytest.mark.parametrize("path, words", PATHS_OUT.values(), ids=PATHS_OUT)
def test_a_table_reads_no_file_outside_of_its_folder(tmp_path, path, words):
    PIL.Image.new("L", (2, 2)).save(tmp_path / "1.png")
    (tmp_path / "rows").mkdir()
    PIL.Image.new("L", (2, 2)).save(tmp_path / "rows" / "in.png")
    (tmp_path / "rows" / "link.png").symlink_to(tmp_path / "1.png")
    (tmp_path / "rows" / "fine.png").symlink_to("in.png")
    rows = ["in.png", "fine.png", str(tmp_path / "rows" / "in.png"), path]
    refused(file(tmp_path / "rows", "image\n" + "".join(f"{row}\n" for row in rows)), "row 5: image ", words, columns={"image": Image})
    cells = [{"bytes": None, "path": row} for row in rows]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells}), tmp_path / "rows" / "a.parquet")
    refused(tmp_path / "rows" / "a.parquet", "row 4: image ", words, columns={"image": Image})


LINKS = {
    "to a file outside": ("a/link.png", "../../1.png", "leads out of the folder"),
    "to a folder outside": ("c", "/etc", "leads out of the folder"),
    "to nothing": ("a/link.png", "/nowhere/1.png", "leads to nothing"),
    "to the folder itself": ("a/again", "..", "leads back to a folder above it"),
    "to itself": ("a/link.png", "link.png", "leads to nothing, or in a circle"),
}


@pytest.mark.parametrize("link, to, words", LINKS.values(), ids=LINKS)
def test_links_in_a_folder_are_followed_inside_of_it_alone(tmp_path, link, to, words):
    PIL.Image.new("L", (2, 2)).save(tmp_path / "1.png")
    for label in "ab":
        (tmp_path / "rows" / label).mkdir(parents=True)
        PIL.Image.new("L", (2, 2)).save(tmp_path / "rows" / label / "1.png")
    (tmp_path / "rows" / "b" / "2.png").symlink_to("../a/1.png")
    assert len(read(tmp_path / "rows")) == 3
    (tmp_path / "rows" / link).symlink_to(to)
    refused(tmp_path / "rows", f"rows/{link}: this link {words}", "cp -rL")


def test_a_table_of_a_folder_may_be_no_link_out_of_it_but_what_the_user_names_may(tmp_path):
    file(tmp_path, GOOD, "real.csv")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.csv").symlink_to(tmp_path / "real.csv")
    refused(tmp_path / "rows", "train.csv: this link leads out of the folder")
    assert len(read(tmp_path / "rows" / "train.csv")) == 3


def test_byte_order_marks_and_line_ends_of_other_systems_change_nothing(tmp_path):
    plain = list(read(file(tmp_path, GOOD)))
    for content in (b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n"), GOOD.replace("\n", "\r")):
        assert list(read(file(tmp_path, content, "b.csv"))) == plain
    lines = "".join(json.dumps(row) + "\r\n" for row in plain)
    assert list(read(file(tmp_path, b"\xef\xbb\xbf" + lines.encode(), "b.jsonl"))) == plain


SKIPPED = {
    "a.csv": ("\ntext,label\nA,1\na,b,c\nB,1\nx\n,1\nC,1\n", ["row 4: 3 values", "row 6: 1 values", "row 7: text is empty"]),
    "a.jsonl": (
        '{"text": "A", "label": "1"}\n[]\n{"text": "B", "label": "1"}\n{"text": 1, "text": 2}\n{"text": null, "label": "1"}\n'
        '{"text": "C", "label": "1", "more": 1}\n',
        ["line 2: '[]' is not an object", "line 4: the name 'text'", "line 5: text is empty"],
    ),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_rows_that_cannot_be_used_are_left_out_with_their_places_where_that_is_asked_for(tmp_path, name):
    content, words = SKIPPED[name]
    path, columns = file(tmp_path, content, name), {"text": str, "label": str}
    with pytest.raises(DataError):
        read(path).require(columns)
    for _ in range(2):  # the second time from the cache
        rows = read(path, skip_bad=True)
        said = [*rows.unread, *rows.unusable(columns).values()]
        assert len(said) == len(words) and all(word in line for word, line in zip(words, said)), said
        kept = rows.without(rows.unusable(columns)).require(columns)
        assert [row["text"] for row in kept] == ["A", "B", "C"]
        assert kept.place(2) == (f"{name}, row 8" if name == "a.csv" else f"{name}, line 6")
    assert kept.fingerprint != rows.fingerprint


def test_media_that_cannot_be_decoded_are_found_all_at_once(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        PIL.Image.new("L", (2, 2)).save(tmp_path / label / "1.png")
        file(tmp_path / label, b"no image", "2.png")
    found = read(tmp_path).unusable({"image": Image, "label": str})
    assert [*found] == [1, 3] and all("2.png: damaged image (no image" in said for said in found.values())


def test_labels_that_look_alike_go_to_the_most_frequent_spelling_or_to_that_of_the_model():
    counts = {"Good": 3, "good ": 9, "GO OD": 1, "bad": 2, "\uff22ad": 5, "stra\u00dfe": 1, "STRASSE": 1, "go  od": 4}
    assert alike(counts) == {"Good": "good ", "GO OD": "go  od", "bad": "\uff22ad", "stra\u00dfe": "STRASSE"}
    assert alike(counts, ["Good", "bad"])["good "] == "Good"
    assert alike({"Good": 1, "good": 1}, ["Good", "good"]) == alike({"a": 1, "b": 2}) == {}


def wav(rate=8000, samples=800):
    """A WAV file of noise whose heading names this rate."""
    with io.BytesIO() as made:
        soundfile.write(made, numpy.random.default_rng(0).uniform(-0.5, 0.5, samples), 8000, format="WAV")
        content = made.getvalue()
    return content[:24] + struct.pack("<I", rate) + content[28:]


SOUNDS = {
    "a text": (b"hello", "damaged sound"),
    "nothing": (b"", "damaged sound"),
    "cut short": (wav()[:400], "damaged sound (cut short"),
    "only a heading": (wav()[:44], "damaged sound"),
    "no samples": (wav(samples=0), "damaged sound (no samples"),
    "no rate": (wav(0), "damaged sound"),
    "one sample a second": (wav(1), "the sound has 1 samples a second"),
    "a rate that no device has": (wav(2_000_000_000), "the sound has 2,000,000,000 samples a second"),
    "two hours": (wav(1000, 7_200_000), "the sound is too long (7,200 s"),
}


@pytest.mark.parametrize("content, words", SOUNDS.values(), ids=SOUNDS)
def test_a_sound_that_is_none_is_refused_with_its_place(tmp_path, content, words):
    for label in "ab":
        (tmp_path / label).mkdir()
        file(tmp_path / label, wav(), "1.wav")
    file(tmp_path / "b", content, "2.wav")
    found = read(tmp_path).unusable({"audio": Sound, "label": str})
    assert [*found] == [2] and f"b/2.wav: {words}" in found[2]
