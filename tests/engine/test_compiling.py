"""torch.compile of blocks: only where it pays, with the same curve."""

from types import SimpleNamespace

import pytest
import torch

from penjing.core.errors import ModelError
from penjing.core.training import Training
from penjing.engine import compiling
from penjing.engine.compiling import TIMED, Compiling, require_compiler
from penjing.engine.dropping import dropping
from penjing.engine.train import train
from tests.engine.test_train import started


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_a_compiled_training_has_the_same_curve_and_measures_as_it_is(runtime):
    curves, measured = [], []
    for how in ("off", "on"):
        state, task = started("text-classification", runtime, epochs=1, compile=how)
        with dropping(state.model, 0.0):
            curves.append([step.loss for step in train(state, task.loss)])
        with state.settled(), torch.no_grad():
            measured.append(state.model(**state.encoded.batch([0]).inputs).logits)
        assert state.to_dict()["compiled"] == (0 if how == "on" else None)
        state.release()
        assert all(module._compiled_call_impl is None for module in state.model.modules())
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    torch.testing.assert_close(measured[1], measured[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("device, left, wanted", [("cuda", 10_000, TIMED), ("cuda", 10, None), ("cpu", 10_000, None)])
def test_it_begins_by_itself_where_a_gpu_has_enough_left_to_do(device, left, wanted):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert not Compiling(model, ("0",), Training(gradient_checkpointing=True), device)._may
    found = Compiling(model, ("0",), Training(), device)
    for number in range(1, 2 * TIMED):
        found.note(number, 0.1, left)
    assert found.since == wanted and (model[0]._compiled_call_impl is not None) == (wanted is not None)


@pytest.mark.parametrize(
    "options, blocks, compiler, said",
    [
        ({"gradient_checkpointing": True}, ("0",), "g++", "cannot be computed again"),
        ({}, (), "g++", "no blocks"),
        ({}, ("0",), None, "no C\\+\\+ compiler"),
    ],
)
def test_what_cannot_be_compiled_is_refused(options, blocks, compiler, said, monkeypatch):
    monkeypatch.setattr(compiling, "shutil", SimpleNamespace(which=lambda name: compiler))
    with pytest.raises(ModelError, match=said):
        require_compiler(Training(compile="on", **options), blocks, "cpu")
    require_compiler(Training(**options), blocks, "cpu")
