"""Recurrent networks: cells against their equations, padding against rows alone, units that are silent against units that are gone."""

import numpy
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

from penjing.engine.anatomy import anatomy, with_weights
from penjing.engine.masks import CheapMasks
from penjing.engine.precision import Weights
from penjing.engine.recomputing import recomputing
from penjing.families import rnn
from penjing.methods.prune import Shown, channels

LENGTHS = [7, 3, 1]
HEADS = [rnn.RNNForSequenceClassification, rnn.RNNForTokenClassification]
WRITING = [rnn.RNNForCausalLM, rnn.RNNForSeq2SeqLM]


def built(head=HEADS[0], **words):
    torch.manual_seed(0)
    labels = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    shape = {"vocab_size": 30, "embedding_size": 6, "widths": [5, 4], **labels, **words}
    return head(rnn.RNNConfig(**shape)).eval()


def rows(side="right"):
    """Three rows of different length, padded with a token that means something elsewhere."""
    ids = torch.randint(1, 30, (3, 7), generator=torch.Generator().manual_seed(1))
    place, lengths = torch.arange(7), torch.tensor(LENGTHS)[:, None]
    mask = (place < lengths if side == "right" else place >= 7 - lengths).long()
    return {"input_ids": torch.where(mask.bool(), ids, 9), "attention_mask": mask}


def asked(model, side="right"):
    """The same rows as this model reads them; of a decoder too what it has written."""
    written = {"decoder_input_ids": torch.randint(1, 30, (3, 4), generator=torch.Generator().manual_seed(2))}
    return {**rows(side), **(written if model.config.is_encoder_decoder else {})}


def by_hand(kind, cell, tokens):
    """The states (T, H) of tokens (T, I), from the equations that torch's pages print for its cells."""
    weights = [p.detach().double().numpy() for p in cell.parameters()]
    sigmoid, state, memory, found = (lambda x: 1 / (1 + numpy.exp(-x))), numpy.zeros(cell.hidden_size), numpy.zeros(cell.hidden_size), []
    for token in tokens:
        x, h = weights[0] @ token + weights[2], weights[1] @ state + weights[3]
        if kind == "rnn":
            state = numpy.tanh(x + h)
        elif kind == "gru":
            (xr, xz, xn), (hr, hz, hn) = numpy.split(x, 3), numpy.split(h, 3)
            new, kept = numpy.tanh(xn + sigmoid(xr + hr) * hn), sigmoid(xz + hz)
            state = (1 - kept) * new + kept * state
        else:
            i, f, g, o = numpy.split(x + h, 4)
            memory = sigmoid(f) * memory + sigmoid(i) * numpy.tanh(g)
            state = sigmoid(o) * numpy.tanh(memory)
        found.append(state)
    return numpy.stack(found)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("cell", rnn.CELLS)
def test_states_and_logits_follow_the_equations_of_each_cell_read_row_by_row(cell, side):
    model, batch = built(cell=cell), rows(side)
    logits = model(**batch).logits
    for row, length in enumerate(LENGTHS):
        ids = batch["input_ids"][row][batch["attention_mask"][row].bool()]
        states = model.body.embedding(ids).detach().double().numpy()
        for layer in model.body.layers:
            ahead, back = by_hand(cell, layer.ahead, states), by_hand(cell, layer.back, states[::-1])[::-1]
            states = numpy.concatenate([ahead, back], 1)
        assert len(states) == length
        pooled = torch.from_numpy(numpy.concatenate([states.max(0), states.mean(0)])).float()
        torch.testing.assert_close(logits[row], model.head(pooled), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_a_row_alone_and_a_padded_one_are_answered_alike(head, both, side):
    model, batch = built(head, bidirectional=both), rows(side)
    logits = model(**batch).logits
    for row in range(3):
        there = batch["attention_mask"][row].bool()
        alone = model(input_ids=batch["input_ids"][row : row + 1, there]).logits[0]
        torch.testing.assert_close(logits[row] if head is HEADS[0] else logits[row, there], alone, rtol=1e-5, atol=1e-6)


def test_padding_gets_no_gradient():
    model, batch = built(), rows()
    batch["input_ids"] = torch.where(batch["attention_mask"].bool(), batch["input_ids"], 0)
    model(**batch).logits.square().sum().backward()
    assert model.body.embedding.weight.grad[0].abs().max() == 0 < model.body.embedding.weight.grad.abs().max()


def test_each_head_loads_as_the_class_it_is_saved_as(tmp_path):
    autos = (AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoModelForCausalLM, AutoModelForSeq2SeqLM)
    for head, auto in zip([*HEADS, *WRITING], autos):
        model = built(head, dropout=0.1)
        model.save_pretrained(tmp_path / auto.__name__)
        again = auto.from_pretrained(tmp_path / auto.__name__, trust_remote_code=False)
        assert type(again) is head and again.config.to_diff_dict() == model.config.to_diff_dict()
        torch.testing.assert_close(again.eval()(**asked(again)).logits, model(**asked(model)).logits, rtol=0, atol=0)
        assert model.config.auto_map == {"AutoConfig": "rnn.RNNConfig", auto.__name__: f"rnn.{head.__name__}"}


def test_a_body_without_a_head_gets_a_fresh_one_whose_states_are_the_bodys(tmp_path):
    model = built()
    model.save_pretrained(tmp_path)
    tagger, info = AutoModelForTokenClassification.from_pretrained(
        tmp_path, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True
    )
    assert all(name.startswith("head.") for name in info["missing_keys"])
    torch.testing.assert_close(tagger.body.eval()(**rows()).last_hidden_state, model.body(**rows()).last_hidden_state)


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("head", [*HEADS, *WRITING])
@pytest.mark.parametrize("cell", rnn.CELLS)
def test_units_that_nobody_reads_can_be_cut_without_a_trace(cell, head, both):
    """Every other unit: light in what it reads, so that the method chooses it, and weightless in all that reads it."""
    model = built(head, cell=cell, bidirectional=both, widths=[6, 4])
    parts, state, before = anatomy(model), model.state_dict(), model(**asked(model)).logits
    for group in parts.channels:
        total = model.config.widths[group.setting[1]]
        for name, dimension in group.tensors:
            units = state[name].movedim(dimension, 0).unflatten(0, (-1, total))  # a view: sets, units, the rest
            units[:, 1::2] *= 0.01 if dimension == 0 else 0.0
    silenced = model(**asked(model)).logits
    small = channels.apply(model, parts, Shown(state, [], None, None, None), channels.Options(keep_share=0.5))
    cut = with_weights(model, small.changes, small.weights)
    assert cut.config.widths == [3, 2] and cut.num_parameters() < model.num_parameters()
    torch.testing.assert_close(cut(**asked(cut)).logits, silenced, rtol=1e-5, atol=1e-6)
    assert (silenced - before).abs().max() > 1e-3


def test_bf16_gives_the_gradients_of_fp32_but_for_rounding():
    """As the training loop has it: bf16 images of all matrices, under autocast."""
    gradients = {}
    for precision in ("fp32", "bf16"):
        model = built(widths=[32, 32], embedding_size=32)
        names = [name for name, _ in model.named_parameters()]
        weights = Weights(model, names, precision)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(**rows()).logits
        assert logits.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1, 2])).backward()
        weights.gather()
        gradients[precision] = torch.cat([weights.learnt[name].grad.flatten() for name in names])
    assert nn.functional.cosine_similarity(gradients["fp32"], gradients["bf16"], dim=0) > 0.999


def test_a_layer_that_is_computed_again_draws_the_masks_of_the_first_time():
    found = []
    for blocks in ((), ("body.layers.0", "body.layers.1")):
        model, masks = built().train(), CheapMasks((0, 1))
        assert anatomy(model).blocks == ("body.layers.0", "body.layers.1") and anatomy(model).head == ("dropout", "head")
        with masks, recomputing(model, blocks, masks):
            logits = model(**rows()).logits
        logits.square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_language_model_tells_from_what_stands_before_and_with_the_embeddings():
    model, batch = built(rnn.RNNForCausalLM, widths=[5]), rows()
    assert not model.config.bidirectional and model.head.weight is model.body.embedding.weight
    for row, length in enumerate(LENGTHS):
        states = by_hand(
            "lstm", model.body.layers[0].ahead, model.body.embedding(batch["input_ids"][row, :length]).detach().double().numpy()
        )
        told = model.said(torch.from_numpy(states).float()) @ model.body.embedding.weight.T
        torch.testing.assert_close(model(**batch).logits[row, :length], told, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cell", rnn.CELLS)
def test_a_decoder_begins_with_the_mean_state_and_attends_to_the_states_of_its_own_row(cell):
    model = built(rnn.RNNForSeq2SeqLM, cell=cell, widths=[4])
    batch = asked(model)
    logits = model(**batch).logits
    for row, length in enumerate(LENGTHS):
        read = model.body(batch["input_ids"][row : row + 1, :length]).last_hidden_state[0]
        first = torch.tanh(model.begin[0](read.mean(0)))
        state = (first[None], torch.zeros_like(first)[None]) if cell == "lstm" else first[None]
        said, _ = model.decoder.layers[0].ahead(model.body.embedding(batch["decoder_input_ids"][row]), state)
        found = torch.softmax((said @ model.sought.weight.T) @ read.T, -1) @ read
        told = torch.tanh(model.read(found) + model.said(said)) @ model.body.embedding.weight.T
        torch.testing.assert_close(logits[row], told, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", rnn.CELLS)
@pytest.mark.parametrize("head", WRITING)
def test_tokens_that_are_told_one_by_one_have_the_logits_of_those_told_at_once(head, cell):
    model, states = built(head, cell=cell), rnn.States()
    batch, more = asked(model, "left"), torch.randint(1, 30, (3, 3), generator=torch.Generator().manual_seed(3))
    name, mask = ("decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"), batch["attention_mask"]
    longer = {} if model.config.is_encoder_decoder else {"attention_mask": torch.cat([mask, torch.ones_like(more)], 1)}
    whole = model(**{**batch, **longer, name: torch.cat([batch[name], more], 1)}).logits[:, -4:]
    model(**batch, past_key_values=states)
    for place in range(3):
        told = model(**{**batch, **longer, name: more[:, place : place + 1]}, past_key_values=states).logits[:, 0]
        torch.testing.assert_close(told, whole[:, place + 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("cell", rnn.CELLS)
@pytest.mark.parametrize("head", WRITING)
def test_what_is_kept_between_two_tokens_changes_no_answer(head, cell, beams):
    """Against reading everything anew for each token; rows are padded as `generate` has them, and alone they are told the same."""
    model = built(head, cell=cell, tie_word_embeddings=False)  # tied, one token is soon told again and again
    with torch.no_grad():
        model.body.embedding.weight.mul_(10)
    batch = rows("right" if model.config.is_encoder_decoder else "left")
    start = {"decoder_start_token_id": 2} if model.config.is_encoder_decoder else {}
    words = {"max_new_tokens": 5, "num_beams": beams, "do_sample": False, "pad_token_id": 0, **start}
    kept = model.generate(**batch, **words)
    torch.testing.assert_close(kept, model.generate(**batch, **words, use_cache=False), rtol=0, atol=0)
    for row, there in enumerate(batch["attention_mask"].bool()):
        alone = model.generate(input_ids=batch["input_ids"][row : row + 1, there], **words)[0]
        assert kept[row, -5:].tolist() == alone[-5:].tolist()


def test_one_mask_drops_the_same_numbers_of_all_tokens_of_a_row():
    torch.manual_seed(0)
    kept = rnn.Locked(0.5).train()(torch.ones(3, 7, 40))
    assert (kept == kept[:, :1]).all() and 0.3 < (kept == 0).float().mean() < 0.7 and not (kept[0] == kept[1]).all()
