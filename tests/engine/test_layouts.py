"""What a rank holds by formula beside what torch leaves it: models without weights, shared out among up to 1,024 ranks."""

from contextlib import contextmanager

import pytest
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.testing._internal.distributed.fake_pg import FakeStore

from penjing.core.runtime import Runtime
from penjing.engine import counted
from penjing.maths import layout as layouts
from penjing.maths.layout import Layout

PLANS = {  # of the linears of a block, by the last words of their paths
    "llama": {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 1, "gate_proj": 0, "up_proj": 0, "down_proj": 1},
    "opt": {"q_proj": 0, "k_proj": 0, "v_proj": 0, "out_proj": 1, "fc1": 0, "fc2": 1},
}
STYLES = (ColwiseParallel, RowwiseParallel)


@contextmanager
def ranks(number):
    """A process group of so many ranks, of which this process is the first and the others are not there."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=number)
    try:
        yield
    finally:
        dist.destroy_process_group()


def stage_of(model, blocks, layout, stage):
    """The modules of a stage: every module of the model, blocks and tables of other stages taken out."""
    number = sum(layouts.stage_blocks(counted.shape(model.config), layout, stage))
    begin = sum(sum(layouts.stage_blocks(counted.shape(model.config), layout, before)) for before in range(stage))
    path, _, name = blocks.rpartition(".")
    setattr(model.get_submodule(path), name, model.get_submodule(blocks)[begin : begin + number])
    outer = {n: m for n, m in model.named_modules() if list(m.parameters(recurse=False)) and not n.startswith(blocks)}
    for path, module in outer.items():
        told = isinstance(module, nn.Embedding)
        if (told and stage) or (not told and stage < layout.pipeline - 1):
            above, _, name = path.rpartition(".")
            setattr(model.get_submodule(above), name, nn.Identity())
    return model


def held(model, blocks, layout):
    """Numbers that torch leaves the first rank of a stage: tensor parallelism by DTensor, then FSDP2 block by block."""
    kind = model.config.model_type
    with ranks(layout.tensor * layout.shards):
        mesh = init_device_mesh("cpu", (layout.shards, layout.tensor), mesh_dim_names=("shards", "tensor"))
        if layout.tensor > 1:
            split = {"embed_tokens": STYLES[1], "lm_head": STYLES[0], **{name: STYLES[dim] for name, dim in PLANS[kind].items()}}
            linears = [
                path for path, module in model.named_modules() if path.split(".")[-1] in split and not isinstance(module, nn.Identity)
            ]
            plan = {path: split[path.split(".")[-1]]() for path in linears}
            parallelize_module(model, mesh["tensor"], plan)
        if layout.sharded == "weights":
            for block in model.get_submodule(blocks):
                fully_shard(block, mesh=mesh["shards"])
            fully_shard(model, mesh=mesh["shards"])
        return sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in model.parameters())


LAYOUTS = {
    "data": ("llama-3.2-1b", Layout(data=8)),
    "shards that come out even": ("llama-3.1-8b", Layout(data=64, sharded="weights")),
    "shards that do not": ("llama-3.2-3b", Layout(data=7, sharded="weights")),
    "more shards than numbers of a bias": ("opt-1.3b", Layout(data=1000, sharded="weights")),
    "shards and context": ("llama-3.1-8b", Layout(data=16, context=8, sharded="weights")),
    "tensor": ("llama-3.1-70b", Layout(tensor=8)),
    "tensor and shards": ("llama-3.1-70b", Layout(tensor=8, data=32, sharded="weights")),
    "first stage of a pipeline": ("opt-175b", Layout(tensor=8, pipeline=8, data=16)),
    "1,024 ranks": ("llama-3.1-405b", Layout(tensor=8, pipeline=8, data=16, sharded="weights")),
}


@pytest.mark.parametrize("name, layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_rank_holds_what_torch_leaves_it(name, layout):
    model = counted.outline(counted.config_of(name, Runtime(quiet=True)))
    blocks = "model.decoder.layers" if "opt" in name else "model.layers"
    told = layouts.weight_numbers(counted.shape(model.config), layout, 0)
    assert held(stage_of(model, blocks, layout, 0), blocks, layout) == told


def test_the_last_stage_holds_the_head_and_the_blocks_that_are_left():
    layout = Layout(tensor=8, pipeline=16, data=8, sharded="weights")  # 126 blocks: 14 stages of 8, two of 7
    model = counted.outline(counted.config_of("llama-3.1-405b", Runtime(quiet=True)))
    told = layouts.weight_numbers(counted.shape(model.config), layout, 15)
    assert held(stage_of(model, "model.layers", layout, 15), "model.layers", layout) == told


def test_experts_are_shared_out_whole_and_then_cut():
    """DeepSeek-V3 on 1,024 ranks: 64 ranks share out 256 experts, and 16 such groups cut what each has."""
    layout = Layout(data=1024, expert=64, sharded="weights")
    model = counted.outline(counted.config_of("deepseek-v3", Runtime(quiet=True)))
    with ranks(1024):
        whole = init_device_mesh("cpu", (1024,))
        mesh = init_device_mesh("cpu", (16, 64), mesh_dim_names=("shards", "expert"))
        held = 0
        for p in model.parameters():
            if p.dim() == 3:
                mine = distribute_tensor(p, mesh["expert"], [Shard(0)]).to_local().detach()
                held += distribute_tensor(mine, mesh["shards"], [Shard(1)]).to_local().numel()
            else:
                held += distribute_tensor(p, whole, [Shard(0)]).to_local().numel()
    assert held == layouts.weight_numbers(counted.shape(model.config), layout)


def test_all_stages_and_ranks_hold_the_model_once():
    """Where everything comes out even, what ranks hold adds up to the model, but for norms, which tensor ranks hold whole."""
    shape = counted.shape(counted.config_of("llama-3.1-70b", Runtime(quiet=True)))
    layout = Layout(data=16, tensor=8, pipeline=8, sharded="weights")
    held = sum(layouts.weight_numbers(shape, layout, stage) for stage in range(8)) * 8 * 16
    norms = (2 * 80 + 1) * 8192
    assert held == layouts.cost.parameters(shape).total + 7 * norms


MISFITS = {
    "heads": (Layout(tensor=3), "tensor 3 does not divide 32 heads"),
    "keys": (Layout(tensor=32), None),
    "pipeline": (Layout(pipeline=16, interleaved=4), "a pipeline of 16 x 4 stages is longer than the 32 blocks"),
    "context": (Layout(context=3), "context 6 does not divide 8,192 tokens of a row"),
    "expert": (Layout(expert=3, data=3), None),
    "parts": (Layout(pipeline=4, interleaved=2, parts=6), "interleaved 4 does not divide 6 parts"),
}


@pytest.mark.parametrize("layout, said", MISFITS.values(), ids=MISFITS)
def test_a_layout_that_does_not_divide_is_named(layout, said):
    shape = counted.shape(counted.config_of("llama-3.1-8b", Runtime(quiet=True)))
    assert layouts.misfit(shape, layout, 8192) == said


def test_states_are_those_of_zero():
    """Rajbhandari et al. 2020, table 1: 7.5 billion parameters on 64 GPUs take 120, 31.4, 16.6 and 1.88 GB."""
    shape = layouts.Shape(1, 1000, 1, 1000, 7_492_000, tied=True, causal=False)
    printed = {"none": 120, "optimizer": 31.4, "gradients": 16.6, "weights": 1.88}
    for sharded, gigabytes in printed.items():
        told = layouts.memory(shape, Layout(data=64, sharded=sharded), 1, layouts.cost.PRECISIONS["mixed"])
        assert sum(told[:3]) / 1e9 == pytest.approx(gigabytes, rel=0.01)


@pytest.mark.parametrize("checkpointing", ["none", "full"])
@pytest.mark.parametrize("parts", [1, 4])
def test_on_a_processor_the_fullest_moment_is_the_begin_or_the_end_of_a_backward_pass(checkpointing, parts):
    """With one part there are gradients of weights, or activations of all blocks, not both; earlier parts have left gradients."""
    for layers, tokens in ((2, 64), (24, 4096)):
        shape, layout = layouts.Shape(layers, 512, 8, 2048, 8000), Layout(checkpointing=checkpointing, parts=parts, part_rows=2)
        told = [layouts.memory(shape, layout, tokens, layouts.cost.PRECISIONS["fp32"], heap=heap) for heap in (False, True)]
        assert told[1].total <= told[0].total and told[1].weights == told[0].weights and told[1].optimizer == told[0].optimizer
        assert told[1].gradients > 0 if parts > 1 else (told[1].gradients == 0) != (told[1].activations == 0)


def test_a_rank_of_a_pipeline_holds_as_many_parts_as_stages_follow_it():
    """One forward and one backward in turn; with interleaved stages L (1 + (p - 1) / p v) blocks (Korthikanti et al., 4.2.3)."""
    assert [layouts.under_way(Layout(pipeline=4, parts=16), stage) for stage in range(4)] == [4, 3, 2, 1]
    assert layouts.under_way(Layout(pipeline=4, interleaved=2, parts=16), 0) == 4 * (1 + 3 / 8)
    assert layouts.under_way(Layout(pipeline=4, parts=2), 0) == 2


def test_volumes_are_those_of_their_papers():
    """ZeRO, section 7: 2 psi a step, 3 psi with weights shared out. Narayanan et al., 3.2: 8 b s h (t - 1) / t numbers a block."""
    shape = counted.shape(counted.config_of("llama-3.1-8b", Runtime(quiet=True)))
    total, mixed = layouts.cost.parameters(shape).total, layouts.cost.PRECISIONS["mixed"]
    for sharded, times in {"none": 2, "optimizer": 2, "gradients": 2, "weights": 3}.items():
        told = layouts.volume(shape, Layout(data=64, sharded=sharded), 4096, mixed).data
        assert told == pytest.approx(times * 2 * total * 63 / 64)
    for sharded, times in {"none": 2, "optimizer": 2, "gradients": 1 + 4, "weights": 3 * 4}.items():  # gradients are summed for each part
        told = layouts.volume(shape, Layout(data=64, sharded=sharded, parts=4), 4096, mixed).data
        assert told == pytest.approx(times * 2 * total * 63 / 64)
    told = layouts.volume(shape, Layout(tensor=8), 4096, mixed).tensor
    assert told == 8 * 4096 * shape.hidden * 7 / 8 * 2 * shape.layers
