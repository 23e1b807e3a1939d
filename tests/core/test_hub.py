"""Models of the hub by name, fetched by the real client from a hub on this machine; and what is said where that fails."""

import json

import pytest

from penjing.core.model_dir import ModelDir
from tests.hub import COMMIT, fetched, serving

CONFIG = '{"architectures": ["BertForSequenceClassification"]}'


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The repositories of the hub."""
    root = tmp_path_factory.mktemp("hub")

    def repository(name, **contents):
        (root / name / "onnx").mkdir(parents=True)
        for file, content in contents.items():
            (root / name / file.replace("__", "/").replace("_dot_", ".")).write_text(content)

    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    repository(
        "org/good",
        config_dot_json=CONFIG, model_dot_safetensors="weights", vocab_dot_txt="a", README_dot_md="---\nlicense: mit\n---\n",
        pytorch_model_dot_bin="pickle", modeling_dot_py="code", training_args_dot_bin="pickle", onnx__model_dot_onnx="large",
    )  # fmt: skip
    repository("org/sharded", config_dot_json=CONFIG)
    for file in shards["weight_map"].values():
        (root / "org/sharded" / file).write_text(file)
    (root / "org/sharded/model.safetensors.index.json").write_text(json.dumps(shards))
    repository("org/pickles", config_dot_json=CONFIG, pytorch_model_dot_bin="pickle")
    return root


@pytest.fixture(scope="module")
def first(root, tmp_path_factory):
    """What is found on the first day: the answers by source, the cache, and the requests the hub saw."""
    home, names = tmp_path_factory.mktemp("home"), ("good", f"sharded@{COMMIT}", "pickles", "gated", "nobody", "good@v9", "broken")
    sources = ["hf:a/b/c", *(f"hf:org/{name}" for name in names)]
    with serving(root) as (endpoint, asked):
        return dict(zip(sources, fetched(home, endpoint, *sources))), home, list(asked)


def test_only_what_cannot_run_code_is_fetched_and_the_commit_and_licence_are_known(first):
    found, _, asked = first
    good = found["hf:org/good"]
    assert good["files"] == ["README.md", "config.json", "model.safetensors", "vocab.txt"]
    assert (good["path"], good["commit"], good["licence"], good["shown"]) == ("hf:org/good", COMMIT, "mit", "hf:org/good")
    assert not [line for line in asked if line.endswith((".bin", ".py", ".onnx"))]


def test_nothing_but_the_model_is_asked_for(first):
    assert {line.split("/org/")[0] for line in first[2]} <= {"GET /api/models", "HEAD ", "GET "}


def test_shards_are_fetched_and_counted(first, root):
    sharded = first[0][f"hf:org/sharded@{COMMIT}"]
    assert sharded["bytes"] == sum(path.stat().st_size for path in (root / "org/sharded").iterdir() if path.is_file())
    assert sharded["path"] == "hf:org/sharded" and sharded["commit"] == COMMIT


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (
            "hf:org/pickles",
            ("no safetensors, only pytorch_model.bin; a pickle can run code", "model.safetensors", "hf:org/pickles@refs/pr/1"),
        ),
        ("hf:org/gated", ("hf:org/gated is gated", "an account", "hf auth login")),
        ("hf:org/nobody", ("no model org/nobody", "org/name", "hf auth login")),
        ("hf:org/good@v9", ("hf:org/good has no revision 'v9'", "a commit", "leave it out")),
        ("hf:a/b/c", ("hf:a/b/c is no name of a model", "hf:org/name", "correct the name")),
        ("hf:org/broken", ("org/broken is not in the cache, or not all of it, and the hub cannot be reached", "network", "once")),
    ],
)
def test_what_cannot_be_fetched_is_said_in_three_parts(first, source, parts):
    for said, part in zip(first[0][source], parts, strict=True):
        assert part in said


def test_code_is_fetched_only_when_the_user_trusts_it(root, tmp_path):
    with serving(root) as (endpoint, _):
        (trusted,) = fetched(tmp_path, endpoint, "hf:org/good", code=True)
    assert "modeling.py" in trusted["files"] and "pytorch_model.bin" not in trusted["files"]


def test_without_network_the_cache_serves_and_says_what_it_lacks(first, root):
    """The hub is gone: first unnoticed, then by HF_HUB_OFFLINE. A snapshot that lost a file is not taken for whole."""
    found, home, _ = first
    gone = "http://127.0.0.1:9"
    assert fetched(home, gone, "hf:org/good", f"hf:org/sharded@{COMMIT}") == [found["hf:org/good"], found[f"hf:org/sharded@{COMMIT}"]]
    next(home.rglob("model-00002-of-00002.safetensors")).unlink()
    good, part, never = fetched(home, gone, "hf:org/good", f"hf:org/sharded@{COMMIT}", "hf:org/other", HF_HUB_OFFLINE="1")
    assert good == found["hf:org/good"]
    assert "hf:org/sharded@" in part[0] and "not all of it" in part[0] and "run this once with network" in part[2]
    assert never[0].startswith("hf:org/other is not in the cache") and never[0].endswith("HF_HUB_OFFLINE forbids the network")


def test_a_path_never_becomes_a_download(monkeypatch, tmp_path):
    """A mistyped path that looks like the name of a model is only told how that would be written."""
    monkeypatch.setattr("penjing.core.hub.fetch", lambda *_: pytest.fail("the hub was asked"))
    with pytest.raises(Exception, match="org/name does not exist") as caught:
        ModelDir.open("org/name")
    assert "hf:org/name" in caught.value.fix
