"""Files in archives are read where they lie, and nothing that an archive says leads out of it."""

import gzip
import io
import random
import tarfile
import zipfile

import pytest

from penjing.core import archives
from penjing.core.archives import Member
from penjing.core.errors import DataError
from penjing.core.media import in_cell
from penjing.core.sound import Sound


def tar(path, *entries, mode="w"):
    with tarfile.open(path, mode) as opened:
        for entry in entries:
            name, content, *kind = entry
            info = tarfile.TarInfo(name)
            info.size = 0 if kind else len(content)
            if kind:
                info.type, info.linkname = kind[0], content.decode()
            opened.addfile(info, io.BytesIO(content))
    return path


def zipped(path, *entries):
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in entries:
            opened.writestr(name, content)
    return path


FILES = [("a/1.wav", b"one"), ("./b/2.wav", b"two" * 1000), ("空.wav", b"three")]
WRITERS = {
    "rows.tar": tar,
    "rows.tar.gz": lambda path, *entries: tar(path, *entries, mode="w:gz"),
    "rows.tgz": lambda path, *entries: tar(path, *entries, mode="w:gz"),
    "rows.zip": lambda path, *entries: zipped(path, *((name.removeprefix("./"), content) for name, content in entries)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_file_is_listed_and_read_as_it_was_written(tmp_path, name):
    path = WRITERS[name](tmp_path / name, *FILES)
    assert archives.is_archive(path)
    assert archives.names(path) == ["a/1.wav", "b/2.wav", "空.wav"]
    assert [archives.read(Member(path, name)) for name in archives.names(path)] == [content for _, content in FILES]
    assert sorted(child.name for child in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("name", ["rows.tar", "rows.zip"])
def test_names_that_lead_out_of_the_archive_are_passed_over(tmp_path, name):
    outside = [("/etc/1.wav", b"x"), ("../1.wav", b"x"), ("a/../../1.wav", b"x"), ("folder/", b""), ("ok.wav", b"x")]
    assert archives.names(WRITERS[name](tmp_path / name, *outside)) == ["ok.wav"]


def test_links_and_devices_are_passed_over(tmp_path):
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    path = tar(tmp_path / "rows.tar", *((f"{i}.wav", b"/etc/passwd", kind) for i, kind in enumerate(kinds)), ("ok.wav", b"x"))
    assert archives.names(path) == ["ok.wav"]


def test_a_packed_tar_is_unpacked_once_into_the_cache(tmp_path, cache):
    path = WRITERS["rows.tar.gz"](tmp_path / "rows.tar.gz", *FILES)
    archives.names(path)
    (unpacked,) = (cache / "archives").iterdir()
    assert unpacked.read_bytes() == gzip.decompress(path.read_bytes())
    made = unpacked.stat().st_mtime_ns
    archives.read(Member(path, "a/1.wav"))
    assert unpacked.stat().st_mtime_ns == made


def test_a_packed_tar_that_grows_without_end_is_refused(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    path = WRITERS["rows.tar.gz"](tmp_path / "bomb.tar.gz", ("zeros.wav", bytes(8 << 20)))
    with pytest.raises(DataError, match=r"bomb.tar.gz: grows beyond 1,048,576 bytes(.|\n)*100 times(.|\n)*gunzip it"):
        archives.names(path)
    assert list((cache / "archives").iterdir()) == []


@pytest.mark.parametrize("name", ["rows.tar", "rows.zip"])
def test_a_member_that_is_too_large_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBER_BYTES", 1000)
    path = WRITERS[name](tmp_path / name, *FILES)
    assert archives.read(Member(path, "a/1.wav")) == b"one"
    with pytest.raises(DataError, match=r"row 3: cannot read the sound \(.*3,000 bytes, at most 1,000"):
        Sound(Member(path, "b/2.wav"), "row 3").bytes()


@pytest.mark.parametrize(
    "name, command", [("rows.tar", "tar -tf"), ("rows.tar.gz", "tar -tf"), ("rows.tgz", "tar -tf"), ("rows.zip", "unzip -t")]
)
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-700], lambda content: content[:700], lambda content: b"no archive", lambda _: b""]
)
def test_a_damaged_archive_is_refused_with_the_command_that_checks_it(tmp_path, name, command, damage):
    path = WRITERS[name](tmp_path / name, *((f"{i}.wav", random.Random(i).randbytes(8000)) for i in range(3)))
    content = path.read_bytes() if name == "rows.zip" else path.read_bytes().rstrip(b"\0")  # a tar ends in zeros, which may be missing
    path.write_bytes(damage(content))
    with pytest.raises(DataError, match=rf"{name}: not a complete .*archive(.|\n)*{command}"):
        archives.names(path)


def test_a_member_that_is_not_there_names_row_and_archive(tmp_path):
    path = tar(tmp_path / "rows.tar", *FILES)
    with pytest.raises(DataError, match=r"row 3: cannot read the sound \(gone.wav in rows.tar"):
        Sound(Member(path, "gone.wav"), "row 3").bytes()


def test_a_cell_holds_bytes_or_a_path_beside_the_table(tmp_path):
    assert in_cell(tmp_path, b"x") == in_cell(tmp_path, {"bytes": b"x", "path": "1.wav"}) == b"x"
    assert in_cell(tmp_path, "1.wav") == in_cell(tmp_path, {"bytes": None, "path": "1.wav"}) == tmp_path / "1.wav"
