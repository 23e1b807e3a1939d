"""Images and sounds in folders: in a folder a class, or listed in a metadata table beside folders and archives."""

import csv
import io
import tarfile
import zipfile

import numpy
import PIL.Image
import pytest
import soundfile

from penjing.core.content import content
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError, OptionError
from penjing.core.examples import read
from penjing.core.image import Image
from penjing.core.roles import ROLES, assign
from penjing.core.sound import Sound
from penjing.tasks.audio_classification import AudioClassification


def wav(number=1):
    """A hundredth of a second whose only loud sample says which it is."""
    samples = numpy.zeros(160, numpy.int16)
    samples[number] = 9000
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV")
    return file.getvalue()


def png():
    file = io.BytesIO()
    PIL.Image.new("L", (3, 2)).save(file, "png")
    return file.getvalue()


def number(example):
    return int(example["audio"].samples(16_000).argmax())


def write(folder, files):
    for name, made in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(made)


def pack(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def table(folder, rows, name="metadata.csv"):
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def refused(folder, *words):
    with pytest.raises(DataError) as caught:
        read(folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("packed", [None, "train.zip", "train.tar", "train.tar.gz"])
def test_sounds_in_a_folder_a_class(tmp_path, packed):
    files = {f"{label}/{i}.WAV": wav(i) for i, label in enumerate(("bell", "gong"))}
    write(tmp_path, files) if packed is None else pack(tmp_path / packed, files)
    examples = read(tmp_path)
    assert examples.columns == ["audio", "label"] and examples.column("label") == ["bell", "gong"]
    assert [number(example) for example in examples] == [0, 1] and isinstance(examples[0]["audio"], Sound)
    assert examples.place(1) == f"{tmp_path.name}/{packed + '/' if packed else ''}gong/1.WAV"
    assert examples.parts[0].split == ("train" if packed else None)


def test_a_cover_picture_among_sounds_is_no_row(tmp_path):
    write(tmp_path, {"bell/1.wav": wav(), "bell/2.wav": wav(2), "bell/cover.png": png()})
    assert read(tmp_path).column("audio") == ["bell/1.wav", "bell/2.wav"]


LAYOUTS = {
    "files beside the table": (None, {"1.wav": wav(1), "2.wav": wav(2)}),
    "files in a folder": (None, {"clips/1.wav": wav(1), "clips/2.wav": wav(2)}),
    "a tar": ("audio.tar", {"audio/1.wav": wav(1), "audio/2.wav": wav(2)}),
    "a packed tar": ("clips.tar.gz", {"1.wav": wav(1), "2.wav": wav(2)}),
    "a zip": ("x.zip", {"a/b/1.wav": wav(1), "2.wav": wav(2)}),
}


@pytest.mark.parametrize("packed, files", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("column", ["file_name", "clip"])
def test_a_metadata_table_names_sounds_wherever_they_lie(tmp_path, packed, files, column):
    write(tmp_path, files) if packed is None else pack(tmp_path / packed, files)
    table(tmp_path, [{"speaker": "a", column: "2.wav", "label": "x"}, {"speaker": "b", column: "1.wav", "label": "y"}])
    examples = read(tmp_path)
    assert examples.columns == ["speaker", "audio", "label"]
    assert [number(example) for example in examples.require({"audio": Sound, "label": str})] == [2, 1]
    assert examples[1]["audio"].place == f"{tmp_path.name}/metadata.csv, row 3"


def test_images_are_listed_as_sounds_are(tmp_path):
    write(tmp_path, {"a.png": png()})
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "label": "x"}\n')
    assert isinstance(read(tmp_path)[0]["image"], Image) and read(tmp_path)[0]["image"].image().size == (3, 2)


def test_a_column_split_gives_the_official_splits_in_their_order(tmp_path):
    pack(tmp_path / "test.tar.gz", {"test/1.wav": wav(1)})
    pack(tmp_path / "train.tar.gz", {"train/1.wav": wav(2), "train/2.wav": wav(3)})
    rows = [{"file": f"{split}/{i}.wav", "split": split, "digit": str(i)} for split, i in (("test", 1), ("train", 1), ("train", 2))]
    table(tmp_path, rows)
    examples = read(tmp_path)
    assert [part.split for part in examples.parts] == ["train", "test"]
    assert [number(example) for example in examples] == [2, 3, 1]
    assert examples.place(2) == f"{tmp_path.name}/metadata.csv, row 2"
    assert [number(example) for example in read(tmp_path, split="test")] == [1]
    with pytest.raises(DataError, match=r"no split called 'validation'(.|\n)*'test'"):
        read(tmp_path, split="validation")


def test_splits_that_are_folders_may_each_have_a_table(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, {"1.wav": wav(1)})
        table(tmp_path / split, [{"file_name": "1.wav", "label": split}])
    examples = read(tmp_path)
    assert examples.column("label") == ["train", "test"] and [part.split for part in examples.parts] == ["train", "test"]


def test_a_row_of_an_unknown_split_is_named(tmp_path):
    write(tmp_path, {"1.wav": wav()})
    table(tmp_path, [{"file": "1.wav", "split": "train"}, {"file": "1.wav", "split": "tset"}])
    refused(tmp_path, "metadata.csv, row 3: split 'tset' is no official split", "'test'", "another name")
    table(tmp_path, [{"file": "1.wav", "split": "left"}, {"file": "1.wav", "split": "right"}])
    assert read(tmp_path).parts[0].split is None


@pytest.mark.parametrize("name", ["3.wav", "../secret.wav", "/etc/secret.wav", "clips/../../secret.wav"])
def test_a_file_that_is_not_in_the_folder_is_refused_with_its_row(tmp_path, name):
    folder = tmp_path / "data"
    write(folder, {"clips/1.wav": wav()})
    write(tmp_path, {"secret.wav": wav()})
    table(folder, [{"file": "1.wav"}, {"file": name}])
    refused(folder, f"data/metadata.csv, row 3: file '{name}' is no file in this folder", "put the file in its place")


def test_a_name_that_two_files_have_is_refused_unless_the_path_is_whole(tmp_path):
    write(tmp_path, {"a/1.wav": wav(1), "b/1.wav": wav(2)})
    table(tmp_path, [{"file": "a/1.wav"}, {"file": "1.wav"}])
    refused(tmp_path, "row 3: file '1.wav' is 2 files: a/1.wav, b/1.wav", "write more of the path")
    table(tmp_path, [{"file": "a/1.wav"}, {"file": "b/1.wav"}])
    assert [number(example) for example in read(tmp_path)] == [1, 2]


def test_rows_whose_file_or_values_are_wrong_are_left_out_where_that_is_asked_for(tmp_path):
    write(tmp_path, {"1.wav": wav(1), "2.wav": wav(2), "a/3.wav": wav(3), "b/3.wav": wav(3)})
    (tmp_path / "metadata.csv").write_text("file,split\n1.wav,train\n9.wav,train\n2.wav,test,more\n3.wav,test\n2.wav,test\n")
    refused(tmp_path, "metadata.csv, row 4: 3 values")
    examples = read(tmp_path, skip_bad=True)
    assert [number(example) for example in examples] == [1, 2] and examples.place(1) == f"{tmp_path.name}/metadata.csv, row 6"
    assert [said.split(", ", 1)[1][:30] for said in examples.unread] == [
        "row 4: 3 values, the header na", "row 3: file '9.wav' is no file", "row 5: file '3.wav' is 2 files",
    ]  # fmt: skip


def test_an_empty_name_is_left_to_the_look_at_all_rows(tmp_path):
    write(tmp_path, {"1.wav": wav()})
    table(tmp_path, [{"file": "1.wav", "label": "x"}, {"file": "", "label": "x"}])
    with pytest.raises(DataError, match=r"metadata.csv, row 3: audio is empty(.|\n)*sounds"):
        read(tmp_path).require({"audio": Sound})


def test_a_metadata_table_of_text_is_a_table_like_any_other(tmp_path):
    table(tmp_path, [{"text": "see 1.wav for more", "label": "x"}])
    assert read(tmp_path).columns == ["text", "label"]


def test_fingerprints_change_with_the_sounds_and_not_only_with_the_table(tmp_path):
    table(tmp_path, [{"file": "1.wav"}])
    found = []
    for made in (wav(1), wav(2) + b"\0"):
        pack(tmp_path / "x.tar", {"1.wav": made})
        found.append(read(tmp_path).fingerprint)
        write(tmp_path / "loose", {"1.wav": made})
        table(tmp_path / "loose", [{"file": "1.wav"}])
        found.append(read(tmp_path / "loose").fingerprint)
        (tmp_path / "loose" / "1.wav").unlink()
    assert len(set(found)) == 4


def test_equal_sounds_have_equal_content(tmp_path):
    flac = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(wav(3)), dtype="int16")
    soundfile.write(flac, samples, rate, format="FLAC")
    write(tmp_path, {"1.wav": wav(3), "2.flac": flac.getvalue(), "3.wav": wav(4)})
    table(tmp_path, [{"file": "1.wav"}, {"file": "2.flac"}, {"file": "3.wav"}])
    first, second, third = content(read(tmp_path), ["audio"])
    assert first == second != third


@pytest.fixture
def folds(tmp_path):
    """200 sounds of 50 sources in 4 folds; a source lies in one fold but for source 0, which lies in all."""
    rows = [
        {"file": f"{i}.wav", "fold": str(i % 4 + 1), "source": str(i // 4 * 4 + i % 4 if i >= 4 else 0), "label": "x"} for i in range(150)
    ]
    write(tmp_path, {row["file"]: wav(i) for i, row in enumerate(rows)})
    table(tmp_path, rows)
    return tmp_path


def test_rows_with_a_value_of_a_column_prove_and_the_rest_is_carved(folds):
    data = Data.open(folds, DataOptions(proof_where="fold=4"), AudioClassification)
    assert set(data.role("proof").column("fold")) == {"4"} and len(data.role("proof")) == 37
    assert {"4"}.isdisjoint({*data.role("train").column("fold"), *data.role("tune").column("fold")})
    assert data.roles.counts["train"] + data.roles.counts["tune"] == 113 and data.roles.counts["tune"] > 3
    assert data.notes[0] == "proof: the 37 rows whose fold is 4" and data.notes[1].startswith("tune: 12.5%")
    assert data.roles.how == "mixed"


def test_groups_stay_on_one_side_of_the_chosen_proof_rows(folds):
    examples = read(folds)
    roles = assign(examples, ["audio"], by="source", proof_where=("fold", "4"))
    sides = [set(examples.take(roles.rows(role)).column("source")) for role in ROLES]
    assert "0" in sides[2] and all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@pytest.mark.parametrize(
    "asked, words", [("fold", "cannot be 'fold'"), ("=4", "cannot be '=4'"), ("fold=5", "no row has this value(.|\n)*'4'")]
)
def test_proof_rows_that_are_not_there_are_refused(folds, asked, words):
    with pytest.raises(OptionError, match=f"--proof-where.*{words}"):
        Data.open(folds, DataOptions(proof_where=asked), AudioClassification)


def test_a_column_that_is_not_there_and_an_official_test_are_refused(folds, tmp_path):
    with pytest.raises(DataError, match=r"no column 'flod'(.|\n)*'fold'"):
        Data.open(folds, DataOptions(proof_where="flod=4"), AudioClassification)
    for split in ("train", "test"):
        (tmp_path / "split").mkdir(exist_ok=True)
        (tmp_path / "split" / f"{split}.csv").write_text(f"text,fold\n{split},1\n")
    with pytest.raises(OptionError, match=r"split has an official test split(.|\n)*name a single file"):
        assign(read(tmp_path / "split"), ["text"], proof_where=("fold", "1"))
