"""Relations of tokens and states of blocks, against transformers' own attention, its own hidden states, and loops."""

import math
from types import SimpleNamespace

import pytest
import torch
import transformers as hf
from torch.nn import functional as F

from penjing.core.contracts import Batch, RowLoss
from penjing.core.errors import ModelError, OptionError
from penjing.engine.anatomy import anatomy
from penjing.maths.losses import cross_entropy
from penjing.methods.distill import Functions, hidden, relations

IDS = torch.tensor([[2, 5, 6, 7, 3, 0], [2, 8, 9, 3, 0, 0], [2, 4, 4, 9, 8, 3]])
REAL = (IDS != 0).long()
BATCH = Batch({"input_ids": IDS, "attention_mask": REAL}, {"label": torch.tensor([0, 1, 1])}, torch.arange(3))


def model(seed, **sizes):
    torch.manual_seed(seed)
    config = {"vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, **sizes}
    return hf.BertForSequenceClassification(hf.BertConfig(**config, attn_implementation="eager")).eval()


def functions_of(teacher, student):
    parts = [anatomy(each) for each in (teacher, student)]
    stacks = tuple([*each.depth.values()] for each in parts)
    attention = tuple(dict(zip(each.blocks, each.attention)) for each in parts)

    def hard(outputs, batch):
        return cross_entropy(outputs.logits, batch.targets["label"])

    ask = torch.inference_mode()(lambda inputs: teacher(**inputs))
    return Functions(ask, hard, lambda outputs, batch: (outputs.logits, batch.rows), False, stacks, attention, [])


def taught(method, teacher, student, batch=BATCH, **settings):
    """The loss of a method beside no soft share, without the true labels' part; and the functions with their hooks."""
    functions = functions_of(teacher, student)
    loss = method.apply(teacher, student, functions, method.Options(soft_share=0.0, **settings))
    found = loss(outputs := student(**batch.inputs), batch)
    return RowLoss(found.total - functions.loss(outputs, batch).total, found.count), functions


def hooks_of(made):
    return {name: len(module._forward_hooks) for name, module in made.named_modules()}


def attention_of(made, block):
    """(N, R, T, T) as transformers gives it."""
    with torch.no_grad():
        return made(**BATCH.inputs, output_attentions=True).attentions[block]


@pytest.mark.parametrize("block", [None, 1])
def test_the_relation_of_queries_with_keys_in_the_models_own_heads_is_their_attention(block):
    teacher, student = model(0, hidden_size=64), model(1, num_hidden_layers=1)
    found, _ = taught(relations, teacher, student, relations=["qk"], relation_heads=4, teacher_block=block)
    p, q = attention_of(teacher, (block or 2) - 1), attention_of(student, 0)
    for row, length in enumerate(REAL.sum(1).tolist()):
        p_row, q_row = (each[row, :, :length, :length] for each in (p, q))
        wanted = F.kl_div(q_row.log(), p_row, reduction="none").sum(-1).mean()
        torch.testing.assert_close(found.total[row], wanted)


def test_relations_match_a_slow_loop_over_heads_and_tokens():
    draw = torch.Generator().manual_seed(0)
    student, teacher = ([torch.randn(2, 5, width, generator=draw) for _ in "ab"] for width in (12, 18))
    real = torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = relations.divergence(tuple(student), tuple(teacher), real, heads=3)
    for row, length in enumerate([5, 3]):
        total = 0.0
        for head in range(3):
            for token in range(length):
                chances = []
                for a, b in (student, teacher):
                    size = a.shape[-1] // 3
                    cut = slice(head * size, (head + 1) * size)
                    scores = [float(a[row, token, cut] @ b[row, other, cut]) / math.sqrt(size) for other in range(length)]
                    weights = [math.exp(score) for score in scores]
                    chances.append([weight / sum(weights) for weight in weights])
                total += sum(p * math.log(p / q) for q, p in zip(*chances))
        assert found[row].item() == pytest.approx(total / 3 / length, rel=1e-4)


def test_what_stands_in_padding_changes_no_relation():
    draw = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 2, 4, 8, generator=draw), torch.randn(2, 2, 4, 16, generator=draw)
    real = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    before = relations.divergence((student[0], student[1]), (teacher[0], teacher[1]), real, 2)
    for states in (student, teacher):
        states.masked_fill_(real[:, :, None] == 0, 77.0)
    torch.testing.assert_close(relations.divergence((student[0], student[1]), (teacher[0], teacher[1]), real, 2), before)


def test_usual_are_queries_keys_and_values_with_themselves_and_their_sum():
    teacher, student = model(0), model(1, hidden_size=16, num_hidden_layers=3)
    one_by_one = [taught(relations, teacher, student, relations=[each])[0].total for each in ("qq", "kk", "vv")]
    all_three, _ = taught(relations, teacher, student, relation_weight=2.0)
    torch.testing.assert_close(all_three.total, 2 * torch.stack(one_by_one).sum(0))


@pytest.mark.parametrize(("widths", "heads"), [((64, 32), 4), ((768, 384), 48), ((48, 32), 2), ((20, 10), 1)])
def test_usual_heads_leave_the_teacher_16_numbers_or_more(widths, heads):
    teacher, student = (dict.fromkeys("qkv", width) for width in widths)
    assert relations._heads(teacher, student, [("q", "q")], None) == heads


def test_heads_blocks_and_pairs_that_there_are_not_are_refused():
    teacher, student = model(0), model(1, num_hidden_layers=1, hidden_size=16)
    with pytest.raises(OptionError, match="--relation-heads cannot be 5") as caught:
        taught(relations, teacher, student, relation_heads=5)
    assert caught.value.wanted == "1 or 2 or 4 or 8 or 16"
    with pytest.raises(OptionError, match="--teacher-block cannot be 3: the teacher has 2"):
        taught(relations, teacher, student, teacher_block=3)
    with pytest.raises(OptionError, match="--relations cannot be qk: there are fewer keys than queries"):
        relations._heads({"q": 64, "k": 16, "v": 16}, {"q": 64, "k": 16, "v": 16}, [("q", "q"), ("q", "k")], None)
    with pytest.raises(ModelError, match="attention with queries, keys and values apart was not found") as caught:
        gpt = hf.GPT2ForSequenceClassification(hf.GPT2Config(vocab_size=12, n_embd=16, n_layer=1, n_head=2))
        taught(relations, gpt, student)
    assert "--method logits" in caught.value.fix


def test_gradients_of_relations_reach_the_student_alone_and_survive_gradient_checkpointing():
    from penjing.engine.masks import CheapMasks
    from penjing.engine.recomputing import recomputing

    teacher, student = model(0).requires_grad_(False), model(1, hidden_size=16)
    found = []
    for blocks in ((), anatomy(student).blocks):
        student.zero_grad()
        functions = functions_of(teacher, student)
        loss = relations.apply(teacher, student, functions, relations.Options())
        masks = CheapMasks((0,))
        with masks, recomputing(student, blocks, masks):
            outputs = student(**BATCH.inputs)
        loss(outputs, BATCH).mean().backward()
        for hook in functions.hooks:
            hook.remove()
        found.append([p.grad.clone() for p in student.parameters()])
    assert all(p.grad is None for p in teacher.parameters())
    torch.testing.assert_close(found[0], found[1])


def test_states_of_another_width_are_compared_through_a_matrix_that_learns_with_the_student():
    teacher, student = model(0, hidden_size=64, num_hidden_layers=4), model(1)
    student(**BATCH.inputs, output_hidden_states=True)  # by hooks of transformers' own
    before, hung = set(student.state_dict()), hooks_of(student)
    found, functions = taught(hidden, teacher, student)
    matrices = [module.weight for module in student.base_model.to_teacher]
    assert [tuple(matrix.shape) for matrix in matrices] == [(64, 32), (64, 32)]
    with torch.no_grad():
        a, b = (each(**BATCH.inputs, output_hidden_states=True).hidden_states for each in (student, teacher))
    apart = []
    for matrix, mine, theirs in zip(matrices, a[1:], (b[2], b[4])):  # the last beside the last
        one, other = (F.layer_norm(each, each.shape[-1:]) for each in (mine @ matrix.T, theirs))
        apart.append((((one - other) ** 2).mean(-1) * REAL).sum(1) / REAL.sum(1))
    torch.testing.assert_close(found.total, hidden.Options().hidden_weight * torch.stack(apart).mean(0))
    found.total.sum().backward()
    assert all(matrix.grad.abs().sum() > 0 for matrix in matrices)
    for hook in functions.hooks:
        hook.remove()
    assert set(student.state_dict()) == before and hooks_of(student) == hung


def test_states_of_the_same_width_need_no_matrix():
    student = model(1)
    before = set(student.state_dict())
    taught(hidden, model(0), student)
    assert set(student.state_dict()) == before


@pytest.mark.parametrize(
    "made",
    [
        lambda: model(1),
        lambda: hf.BertForMaskedLM(hf.BertConfig(vocab_size=12, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)),
        lambda: hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=12, n_embd=32, n_layer=2, n_head=2)),
        lambda: hf.BertModel(hf.BertConfig(vocab_size=12, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)),
        lambda: hf.MarianMTModel(hf.MarianConfig(vocab_size=12, d_model=32, encoder_layers=2, decoder_layers=2, pad_token_id=0,
                                                 encoder_attention_heads=2, decoder_attention_heads=2)),
    ],
    ids=["classifier", "masked", "decoder", "body", "two stacks"],
)  # fmt: skip
def test_what_is_attached_is_taken_for_no_part_of_the_model(made):
    from penjing.methods.distill._parts import Attached

    student = made()
    before = anatomy(student)
    attached = Attached(student, "to_teacher", [torch.nn.Linear(32, 64, bias=False) for _ in range(2)])
    assert anatomy(student) == before and any("to_teacher" in name for name, _ in student.named_parameters())
    attached.remove()
    assert not any("to_teacher" in name for name, _ in student.named_parameters())


def test_a_student_of_other_pieces_than_its_teacher_is_refused():
    def vit(patch):
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 8}
        return hf.ViTForImageClassification(hf.ViTConfig(**sizes, patch_size=patch))

    batch = Batch({"pixel_values": torch.rand(3, 3, 8, 8)}, {"label": torch.tensor([0, 1, 1])}, torch.arange(3))
    for method in (hidden, relations):
        with pytest.raises(ModelError, match="the teacher reads a row as 17 pieces and the student as 5"):
            taught(method, vit(2), vit(4), batch)


def test_a_model_without_blocks_of_states_is_refused_with_what_will_do():
    odd = SimpleNamespace(config=SimpleNamespace(hidden_size=None))
    functions = Functions(None, None, None, False, ([["a"]], []), ({}, {}), [])
    with pytest.raises(ModelError, match="no blocks, no one number wide beside 1 blocks, 32 wide") as caught:
        hidden.apply(model(0), odd, functions, hidden.Options())
    assert "--method logits" in caught.value.fix
