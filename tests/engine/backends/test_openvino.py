"""The backend of openvino: what it answers, and what it says of files that are damaged."""

import importlib.util
import shutil
import sys

import pytest
import torch

from penjing.core.contracts import Batch
from penjing.core.errors import MissingExtra, ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine.backends import installed, open_backend, require
from penjing.methods.quantize import int8

if importlib.util.find_spec("openvino") is None:
    pytest.skip("openvino is not installed: pip install 'penjing[openvino]'", allow_module_level=True)

TASK = None  # backends of engines do not look at it


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(96, 100)

    def forward(self, values, unused=None):
        from transformers.modeling_outputs import ImageClassifierOutput

        return ImageClassifierOutput(logits=self.layer(values))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(directory, the torch model it was made from)."""
    torch.manual_seed(0)
    folder, net = tmp_path_factory.mktemp("net"), Net().eval()
    int8.apply(net, [Batch({"values": torch.randn(4, 96)}, {}, torch.arange(4))], int8.Options(), "openvino", folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    ModelDir(folder, {}).record(engine="openvino", precision="int8")
    return folder, net


@pytest.fixture
def copied(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "net")
    return tmp_path / "net"


@torch.inference_mode()
def test_it_answers_by_name_and_leaves_out_what_the_graph_does_not_take(written):
    backend = open_backend(ModelDir.open(written[0]), TASK, Runtime(), threads=1)
    values = torch.randn(8, 96)
    first = backend(values=values, unused=torch.zeros(8)).logits
    torch.testing.assert_close(first, written[1](values).logits, atol=0.05, rtol=0)
    again = first.clone()
    backend(values=-values)
    assert torch.equal(first, again) and backend.name == "openvino int8"  # an answer is not overwritten by the next


def test_size_and_hash_are_of_both_files(copied):
    base = ModelDir.open(copied)
    both = [copied / "openvino_model.bin", copied / "openvino_model.xml"]
    assert base.weight_files() == both
    assert base.bytes() == sum(path.stat().st_size for path in (*both, copied / "config.json"))
    for path in both:
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + b"?")
        with pytest.raises(ModelError, match=r"(?s)not those that penjing\.json records.*wanted.*next"):
            ModelDir.open(copied)
        path.write_bytes(kept)


@pytest.mark.parametrize("name", ["openvino_model.bin", "openvino_model.xml"])
def test_a_file_of_the_pair_that_is_missing_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(ModelError, match=rf"(?s){name} is missing, 1 of the 2 files.*openvino_model.bin, openvino_model.xml.*copy"):
        ModelDir.open(copied)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("openvino_model.xml", lambda content: content[: len(content) // 2]),
        ("openvino_model.xml", lambda content: b""),
        ("openvino_model.xml", lambda content: content.replace(b'type="MatMul"', b'type="Magic"')),
        ("openvino_model.bin", lambda content: content[: len(content) // 2]),
        ("openvino_model.bin", lambda content: b""),
    ],
)
def test_damaged_files_are_a_model_error_with_the_next_step(copied, name, damage):
    """Of a directory without recorded hash, or damaged after it was opened."""
    base = ModelDir.open(copied)
    (copied / name).write_bytes(damage((copied / name).read_bytes()))
    with pytest.raises(ModelError, match=r"(?s)openvino cannot open it: \S.*wanted.*next +make the artefact again"):
        open_backend(base, TASK, Runtime())


def test_an_engine_that_is_not_installed_is_named_with_its_extra(copied, monkeypatch):
    assert installed("openvino") and installed("torch") and require("openvino") == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert not installed("openvino")
    with pytest.raises(MissingExtra, match=r"(?s)openvino.*wanted.*next +pip install 'penjing\[openvino\]'"):
        open_backend(ModelDir.open(copied), TASK, Runtime())
