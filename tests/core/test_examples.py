"""Rows of every format come out as they were written, wherever they lie, and views copy nothing."""

import csv
import gzip
import hashlib
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
from sklearn.datasets import load_digits

from penjing.core.errors import DataError, OptionError
from penjing.core.examples import Examples, read, spread
from penjing.core.image import Image

ROWS = [
    {"text": "a good film", "label": "1"},
    {"text": 'she said "no", twice', "label": "01"},
    {"text": "two\nlines", "label": "NA"},
    {"text": " 空格 ", "label": "3.0"},
]


def write_csv(path, rows=ROWS, **how):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **how)
        writer.writeheader()
        writer.writerows(rows)
    return path


def jpeg(colour=(200, 30, 30), size=(8, 8), kind="png"):
    file = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("lines", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix, delimiter", [("csv", ","), ("tsv", "\t")])
def test_text_files_come_back_as_the_standard_library_wrote_them(tmp_path, suffix, delimiter, lines):
    rows = ROWS if lines == "\n" else [row for row in ROWS if "\n" not in row["text"]]
    path = write_csv(tmp_path / f"rows.{suffix}", rows, delimiter=delimiter, lineterminator=lines)
    assert list(read(path)) == rows


def test_a_byte_order_mark_and_spaces_around_column_names_are_no_part_of_the_names(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext, label\r\ngood,1\r\n")
    assert read(tmp_path / "a.csv").columns == ["text", "label"]


def test_a_file_without_a_last_line_end_and_one_with_many_give_the_same_rows(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood,1")
    (tmp_path / "b.csv").write_text("text,label\ngood,1\n\n\n")
    assert list(read(tmp_path / "a.csv")) == list(read(tmp_path / "b.csv")) == [{"text": "good", "label": "1"}]


def test_rows_are_numbered_as_in_a_spreadsheet_and_blank_ones_are_counted(tmp_path):
    (tmp_path / "a.csv").write_text('\ntext,label\ngood,1\n\n"b\nad",0\n,\nfair,1\n')
    examples = read(tmp_path / "a.csv")
    assert [examples.place(i) for i in range(3)] == ["a.csv, row 3", "a.csv, row 5", "a.csv, row 7"]
    assert examples.notes == ("a.csv: 2 blank rows are no examples",)


def test_a_table_longer_than_a_block_keeps_all_rows_and_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.core.readers.delimited._BLOCK_BYTES", 256)
    rows = [{"text": f'row "{i}",\n{"x" * (i % 50)}', "label": str(i)} for i in range(500)]
    examples = read(write_csv(tmp_path / "a.csv", rows))
    assert list(examples) == rows
    assert examples.place(499) == "a.csv, row 501"


def test_json_lines_keep_their_types_and_gaps(tmp_path):
    rows = [{"id": 1, "tokens": ["a", "b"], "day": "2024-01-01", "sure": True}, {"id": 2.5, "tokens": [], "more": {"x": 1}}]
    (tmp_path / "a.jsonl").write_text("\ufeff" + json.dumps(rows[0]) + "\r\n\n" + json.dumps(rows[1], ensure_ascii=False), "utf-8")
    examples = read(tmp_path / "a.jsonl")
    assert examples[0] == {"id": 1.0, "tokens": ["a", "b"], "day": "2024-01-01", "sure": True, "more": None}
    assert examples[1] == {"id": 2.5, "tokens": [], "day": None, "sure": None, "more": {"x": 1}}
    assert examples.place(1) == "a.jsonl, line 3"


def test_json_lines_may_gain_columns_after_the_first_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.core.readers.json_lines._BATCH_ROWS", 2)
    rows = [{"n": i} for i in range(5)] + [{"n": 5, "late": "x"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    examples = read(tmp_path / "a.jsonl")
    assert examples.column("n") == list(range(6)) and examples.column("late") == [None] * 5 + ["x"]


def test_parquet_keeps_types_numbers_rows_from_one_and_shows_dictionaries_as_values(tmp_path):
    table = pyarrow.table({"label": pyarrow.array(["a", "b", "a"]).dictionary_encode(), "n": pyarrow.array([1, 2, 3], pyarrow.int8())})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    examples = read(tmp_path / "a.parquet")
    assert list(examples) == table.to_pylist()
    assert examples.place(2) == "a.parquet, row 3"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_gzipped_file_holds_the_same_rows(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        write_csv(path, delimiter="," if suffix == "csv" else "\t")
    (tmp_path / f"a.{suffix}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert list(read(tmp_path / f"a.{suffix}.gz")) == list(read(path)) == ROWS


def test_images_in_parquet_are_decoded_from_bytes_and_from_the_hubs_structs(tmp_path):
    table = pyarrow.table({"image": [jpeg(), jpeg()], "photo": [{"bytes": jpeg(size=(3, 2)), "path": None}] * 2})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    example = read(tmp_path / "a.parquet")[1]
    assert example["image"].image().getpixel((0, 0)) == (200, 30, 30)
    assert example["photo"].image().size == (3, 2) and example["photo"].place == "a.parquet, row 2"


def test_an_image_column_of_a_text_table_holds_paths_relative_to_it(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(jpeg())
    write_csv(
        tmp_path / "a.csv", [{"photo": "pictures/1.png", "label": "red"}, {"photo": str(tmp_path / "pictures/1.png"), "label": "red"}]
    )
    examples = read(tmp_path / "a.csv").rename({"photo": "image"}).require({"image": Image, "label": str})
    assert [example["image"].image().size for example in examples] == [(8, 8), (8, 8)]
    assert isinstance(read(tmp_path / "a.csv").require({"photo": Image})[0]["photo"], Image)


def test_a_folder_of_split_files_is_read_in_the_order_train_validation_test(tmp_path):
    for name in ("test", "dev", "train", "test_2017"):
        write_csv(tmp_path / f"{name}.csv", [{"text": name, "label": "1"}])
    examples = read(tmp_path)
    assert examples.column("text") == ["train", "dev", "test"]
    assert [part.split for part in examples.parts] == ["train", "validation", "test"]
    assert examples.notes == (f"{tmp_path.name}/test_2017.csv is not read; ask for it by its name, 'test_2017'",)
    assert read(tmp_path, split="test_2017").column("text") == ["test_2017"]
    assert read(tmp_path, split="validation").column("text") == ["dev"]


def test_a_folder_with_one_table_of_another_name_is_that_table(tmp_path):
    write_csv(tmp_path / "reviews.csv")
    examples = read(tmp_path)
    assert len(examples) == len(ROWS) and examples.parts[0].split is None


@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
def test_class_folders_of_images_give_their_names_as_labels(tmp_path, splits):
    for split in splits:
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.JPEG").write_bytes(jpeg(kind="jpeg"))
            (tmp_path / split / label / "notes.txt").write_text("not an image")
    examples = read(tmp_path)
    assert examples.column("label") == ["cat", "dog"] * len(splits)
    assert examples.place(1) == f"{tmp_path.name}/{splits[0]}dog/1.JPEG"
    assert examples[1]["image"].image().size == (8, 8)
    assert examples.parts[0].split == (splits[0].strip("/") or None)


@pytest.mark.parametrize("inside", ["", "train/"])
def test_class_folders_in_zip_archives_are_read_where_they_lie(tmp_path, inside):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for label in ("cat", "dog"):
            archive.writestr(f"{inside}{label}/1.png", jpeg())
            archive.writestr(f"__MACOSX/{inside}{label}/._1.png", b"")
    examples = read(tmp_path)
    assert examples.column("label") == ["cat", "dog"]
    assert examples[0]["image"].image().size == (8, 8)
    assert examples.place(0) == f"{tmp_path.name}/train.zip/{inside}cat/1.png"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["train.zip"]


def test_the_digits_are_those_of_scikit_learn():
    examples, digits = read("sklearn:digits"), load_digits()
    assert examples.column("label") == [str(digit) for digit in digits.target]
    pixels = numpy.asarray(examples[7]["image"].image())
    numpy.testing.assert_array_equal(pixels, numpy.round(digits.images[7] * 255 / 16))


def test_views_choose_rows_without_copying_and_know_their_places(tmp_path):
    rows = [{"text": str(i), "label": str(i % 2)} for i in range(10)]
    examples = read(write_csv(tmp_path / "a.csv", rows))
    view = examples.take([9, 1, 1, -2])[1:]
    assert list(view) == [rows[1], rows[1], rows[8]] and view.column("text") == ["1", "1", "8"]
    assert view.place(-1) == "a.csv, row 10" and view[numpy.int64(0)] == rows[1]
    assert isinstance(view, Examples) and view.fingerprint == examples.fingerprint and len(examples[:0]) == 0
    for wrong in (10, -11):
        with pytest.raises(IndexError):
            examples[wrong]
        with pytest.raises(IndexError):
            examples.take([wrong])


def test_columns_are_renamed_in_views_and_a_name_taken_is_hidden_with_a_note(tmp_path):
    examples = read(write_csv(tmp_path / "a.csv", [{"sentence": "good", "mood": "1", "text": "id-7"}]))
    renamed = examples.rename({"sentence": "text", "mood": "label"})
    assert renamed[0] == {"text": "good", "label": "1"} and renamed.column("text") == ["good"]
    assert "'text' is hidden" in renamed.notes[0]
    assert renamed.rename({"text": "body"}).column("body") == ["good"]
    assert examples.rename({"text": "mood", "mood": "text"})[0] == {"sentence": "good", "mood": "id-7", "text": "1"}
    with pytest.raises(DataError, match=r"no column 'sentense'(.|\n)*'sentence'"):
        examples.rename({"sentense": "text"})


def test_required_numbers_become_text_and_text_numbers(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"label": [1, 2], "sure": [True, False], "x": ["1.5", "-2e3"]}), tmp_path / "a.parquet")
    examples = read(tmp_path / "a.parquet").require({"label": str, "sure": str, "x": float})
    assert examples[1] == {"label": "2", "sure": "false", "x": -2000.0}
    assert (
        examples.column("label") == ["1", "2"] and examples.column("sure") == ["true", "false"] and examples.column("x") == [1.5, -2000.0]
    )


def test_a_view_is_not_blamed_for_rows_it_does_not_show(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood,\nbad,0\n")
    assert len(read(tmp_path / "a.csv").take([1]).require({"label": str})) == 1


def test_fingerprints_are_of_content_alone(tmp_path):
    path = write_csv(tmp_path / "a.csv")
    assert read(path).fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for split in ("train", "test"):
            write_csv(tmp_path / folder / f"{split}.csv", [{"text": split}])
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one.fingerprint == two.fingerprint
    write_csv(tmp_path / "two" / "test.csv", [{"text": "changed"}])
    assert read(tmp_path / "two").fingerprint != two.fingerprint


def test_fingerprints_of_image_folders_change_with_their_images(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(jpeg())
    before = read(tmp_path).fingerprint
    assert read(tmp_path).fingerprint == before
    (tmp_path / "cat" / "1.png").write_bytes(jpeg((0, 0, 0), size=(9, 9)))
    assert read(tmp_path).fingerprint != before


def test_a_table_is_converted_once_and_again_when_it_changes(tmp_path, cache):
    path = write_csv(tmp_path / "a.csv")
    read(path)
    (converted,) = (cache / "tables").glob("*.arrow")
    made = converted.stat().st_mtime_ns
    assert list(read(path)) == ROWS and converted.stat().st_mtime_ns == made
    write_csv(path, [{"text": "new", "label": "1"}])
    assert read(path).column("text") == ["new"]
    assert not list((cache / "tables").glob(".*"))


def test_a_cache_file_cut_short_is_made_again(tmp_path, cache):
    path = write_csv(tmp_path / "a.csv")
    read(path)
    (converted,) = (cache / "tables").glob("*.arrow")
    for content in (b"", converted.read_bytes()[:100]):
        converted.write_bytes(content)
        assert list(read(path)) == ROWS


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "file"))
    with pytest.raises(OptionError, match=r"cannot be written(.|\n)*PENJING_CACHE"):
        read(write_csv(tmp_path / "a.csv"))


def test_rows_stay_readable_after_their_pages_were_handed_back(tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.core.arrow_cache._RESIDENT_BYTES", 0)
    assert list(read(write_csv(tmp_path / "a.csv"))) == ROWS


@pytest.mark.parametrize(
    "name, content, licence",
    [
        ("LICENSE", "MIT License\n", "MIT License"),
        ("README.md", "---\nlicense: cc-by-4.0\ntags: [a]\n---\n# Data", "cc-by-4.0"),
        ("README.md", "---\nlicense:\n- apache-2.0\n---\n", "apache-2.0"),
        ("README.md", "# Data under some licence", None),
    ],
)
def test_the_licence_is_what_the_folder_says(tmp_path, name, content, licence):
    (tmp_path / name).write_text(content)
    write_csv(tmp_path / "train.csv")
    assert read(tmp_path).licence == licence


def test_many_may_convert_one_table_at_once(tmp_path, cache):
    path = write_csv(tmp_path / "a.csv", [{"text": str(i)} for i in range(20_000)])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: read(path).column("text"), range(8)))
    assert all(column == found[0] for column in found) and found[0][-1] == "19999"
    assert len(list((cache / "tables").iterdir())) == 1


def test_sizes_are_the_bytes_of_the_text_whatever_rows_are_shown(tmp_path):
    texts = ["a", "naïve", "多少", "four words of text", ""]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text, "other": text, "n": 5}) + "\n" for text in texts))
    true = [len(text.encode()) for text in texts]
    assert read(path).sizes(["text", "n"]).tolist() == true
    assert read(path).take([3, 0]).sizes(["text", "other"]).tolist() == [2 * true[3], 2 * true[0]]


def test_values_of_a_column_are_counted_and_members_of_lists_one_by_one(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"label": "x", "tags": ["p", "q"]}, {"label": "y", "tags": []}, {"label": "x", "tags": ["q"]}, {"label": None, "tags": ["q"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(path).require({"tags": set})
    assert found.counted("label") == [("x", 2), ("y", 1)]
    assert found.counted("tags") == [(["p"], 1), (["q"], 3)]
    assert found.take([1, 3]).counted("tags") == [(["q"], 1)]


def test_a_view_of_few_columns_has_no_others(tmp_path):
    view = read(write_csv(tmp_path / "a.csv")).only(["label"])
    assert view.columns == ["label"]
    assert [*view] == [{"label": row["label"]} for row in ROWS]


@pytest.mark.parametrize("num_rows, most, chosen", [(10, 3, [0, 4, 9]), (3, 10, [0, 1, 2]), (0, 5, []), (5, 1, [0])])
def test_rows_are_spread_from_the_first_to_the_last(num_rows, most, chosen):
    assert spread(num_rows, most).tolist() == chosen
