"""One model shared out among ranks: of every weight each rank keeps a part, and of its gradient and moments the same part.

torch's FSDP2 does it from outside, block by block: what a block needs is gathered when its turn comes and given back behind it. The files
of models know nothing of it. `Shards` has the face of `precision.Weights`, `ShardFiles` that of `checkpoints.Files`; another layout of the
mesh (tensor parallelism, groups of shards) would be one more of the former.

Source: Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel", section 3; Rajbhandari et al. 2020, "ZeRO", 5
"""

import copy
import hashlib
import math
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, zeros
from transformers import PreTrainedModel

from penjing.core.durable import settle_folder
from penjing.core.errors import OptionError
from penjing.engine.anatomy import anatomy
from penjing.engine.checkpoints import Files, Unusable, half, sha256
from penjing.engine.parallel import Group
from penjing.engine.precision import SCALED, arithmetic, round_tables

_SHARD = "shard"  # key of what stands there for a tensor that is


class Shards:
    """The numbers that learn, in fp32, a part of each on every rank; the forward pass of a block sees them rounded in bf16 and fp16.

    What stands outside of blocks, embeddings and heads, is gathered in fp32, and rounded by each operation for itself.

    given      is left whole on the processor of rank 0, to take what was learnt in the end; other ranks forget its numbers
    model      a copy of it, shared out
    learnt     name -> the tensor that the optimizer moves, as DTensor
    """

    def __init__(self, given: PreTrainedModel, names: Collection[str], precision: str, group: Group):
        self._precision, self._device = precision, group.device
        given.to("cpu")  # type: ignore[arg-type]  # its stub is wrapped wrongly
        self.model: Any = copy.deepcopy(given)
        if group.rank:
            given.to("meta")  # type: ignore[arg-type]
        round_tables(self.model, precision)
        mesh, policy = _mesh(group), MixedPrecisionPolicy(SCALED.get(precision), torch.float32)
        for path in anatomy(self.model).blocks:
            fully_shard(self.model.get_submodule(path), mesh=mesh, mp_policy=policy)
        fully_shard(self.model, mesh=mesh)
        for module in self.model.modules():
            if isinstance(module, FSDPModule):  # gradients are sums over ranks, to be divided by the count of all targets
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        self.learnt = {name: parameter for name, parameter in self.model.named_parameters() if name in names}

    def gather(self) -> None:
        """Nothing: a backward pass leaves gradients where they belong."""

    def sum(self, group: Group) -> None:
        """Nothing: a backward pass adds gradients up over ranks."""

    def gradients(self) -> list[Tensor]:
        """This rank's parts of those there are."""
        return [_own_part(weight.grad) for weight in self.learnt.values() if weight.grad is not None]

    def norm(self, group: Group) -> Tensor:
        """Of the gradients as a whole."""
        own = torch.nn.utils.get_total_norm(self.gradients())
        return own.new_tensor(math.sqrt(*group.total(own.item() ** 2)))

    def show(self) -> None:
        """Nothing: what a block sees is made of its parts each time."""

    @contextmanager
    def settled(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it the model holds `values` too, and calculates as in training; every rank must ask it the same."""
        places = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        held = [(_own_part(places[name]), _own_part(value)) for name, value in values.items()]
        own = [place.clone() for place, _ in held]
        try:
            _copy([place for place, _ in held], [value for _, value in held])
            with arithmetic(self._precision, self._device):
                yield
        finally:
            self.model.reshard()
            _copy([place for place, _ in held], own)

    def whole(self) -> dict[str, Tensor] | None:
        """All weights and buffers on the processor of rank 0, None elsewhere; every rank must ask for them."""
        return get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)) or None  # type: ignore[return-value]

    def release(self) -> None:
        """Nothing: the model that was given is as it was."""


class ShardFiles:
    """A checkpoint of many ranks: a folder in which each rank writes its parts, by torch.distributed.checkpoint, and rank 0 the rest.

    step-120-<hash>.shards    the hash is that of a list of its files and their hashes; parts are named by where they stand in the state,
                              and know of which whole they are parts, so that other numbers of ranks could read them
    """

    suffix = ".shards"

    def __init__(self, group: Group):
        self._group = group

    def write(self, folder: Path, stem: str, held: dict[str, Any]) -> str:
        """Name of the folder, which is on the disk when this returns on rank 0; every rank must write.

        Raises OSError where a disk is full, OptionError where ranks on other machines do not write to the same folder.
        """
        aside, shards = folder / f"{stem}.tmp", dict[str, DTensor]()
        rest = _parted(held, shards)
        if self._group.rank == 0:
            shutil.rmtree(aside, ignore_errors=True)  # one that was cut off
        dist.barrier()
        try:
            dcp.save(shards, storage_writer=dcp.FileSystemWriter(aside))
        except CheckpointException as error:
            raise next((cause for cause, _ in error.failures.values() if isinstance(cause, OSError)), error) from None
        hashed = self._group.all({path.name: sha256(path) for path in aside.glob(f"__{self._group.rank}_*")})
        if self._group.rank:
            return stem
        known = {name: value for each in hashed for name, value in each.items()}
        if missing := [name for name in known if not (aside / name).exists()]:
            raise OptionError(
                f"{aside} lacks {missing[0]}, which a rank on another machine has written",
                wanted="a folder that all machines share",
                fix="choose such an --out, or pass --checkpoint-every 0",
            )
        Files().write(aside, "rest", rest)
        name = f"{stem}-{_hash(aside, known)}{self.suffix}"
        settle_folder(aside, folder / name)
        return name

    def opened(self, path: Path) -> dict[str, Any]:
        """What rank 0 wrote there, and "shards", where the parts are.

        Raises Unusable where the hash of the folder is not that in its name.
        """
        try:
            if _hash(path, {}) != path.stem.rsplit("-", 1)[1]:
                raise Unusable(f"{path} is damaged")
            (rest,) = path.glob("rest-*")
            return {**Files().opened(rest), "shards": str(path)}
        except OSError as error:
            raise Unusable(f"{path} cannot be read ({error.strerror})") from error

    def filled(self, saved: dict[str, Any]) -> dict[str, Any]:
        """The state with this rank's parts in their places; every rank must ask."""
        reader, mesh = dcp.FileSystemReader(saved["shards"]), _mesh(self._group)
        known = reader.read_metadata().state_dict_metadata
        shards = {
            place: zeros(about.size, dtype=about.properties.dtype, device_mesh=mesh, placements=[Shard(0)])
            for place, about in known.items()
            if isinstance(about, TensorStorageMetadata)
        }
        dcp.load(shards, storage_reader=reader)
        return _joined(saved["state"], shards)  # type: ignore[no-any-return]

    def forget(self, path: Path) -> None:
        """Take a folder or file away; a folder loses its name first, lest what is left by a kill be taken for damaged."""
        if self._group.rank == 0 and path.is_dir():
            shutil.rmtree(path.rename(path.with_suffix(".tmp")))
        elif self._group.rank == 0:
            path.unlink()


def _mesh(group: Group) -> DeviceMesh:
    return init_device_mesh(group.device, (group.size,), mesh_dim_names=("shards",))


def _own_part(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor, which shares its memory; all of one that is not shared out."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def _copy(places: list[Tensor], values: list[Tensor]) -> None:
    if places:
        torch._foreach_copy_(places, values)


def _parted(held: Any, shards: dict[str, DTensor], place: str = "") -> Any:
    """`held` with a note in the place of each tensor that is shared out; these are put into `shards` by where they stood."""
    if isinstance(held, DTensor):
        shards[place] = held
        return {_SHARD: place}
    if isinstance(held, dict):
        return {key: _parted(value, shards, f"{place}/{key}") for key, value in held.items()}
    if isinstance(held, list | tuple):
        return type(held)(_parted(value, shards, f"{place}/{i}") for i, value in enumerate(held))
    return held


def _joined(held: Any, shards: Mapping[str, DTensor]) -> Any:
    """What `_parted` took apart."""
    if isinstance(held, dict):
        return shards[held[_SHARD]] if held.keys() == {_SHARD} else {key: _joined(value, shards) for key, value in held.items()}
    return type(held)(_joined(value, shards) for value in held) if isinstance(held, list | tuple) else held


def _hash(folder: Path, known: Mapping[str, str]) -> str:
    """Of all files of a folder, whose own hashes may be known."""
    listed = "".join(f"{path.name} {known.get(path.name) or sha256(path)}\n" for path in sorted(folder.iterdir()))
    return half(hashlib.sha256(listed.encode()))
