"""Tensors of torch and arrays of numpy, as a checkpoint sees them.  Imports neither."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Optional, Sequence, Tuple

_NUMPY = {"bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
          "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32",
          "float64": "F64"}
_TORCH = {**_NUMPY, "bfloat16": "BF16", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3",
          "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ",
          "float8_e5m2fnuz": "F8_E5M2FNUZ"}
_NUMPY_OF = {name: own for own, name in _NUMPY.items()}
_TORCH_OF = {name: own for own, name in _TORCH.items()}
TORCH, NUMPY = "$t", "$n"


class Shard:
    """This rank's own box of a tensor: array[i, j] is element [i + offset[0], j + offset[1]] of a whole one
    of `global_shape`.  The boxes of all ranks together are all of it, each element once.

        muster.Shard(rows, offset=(first, 0), global_shape=(1000, 64))

    Where several ranks have the same box, as under HSDP, each says which of how many it is, and writes its part of
    the rows: `replica` from 0 to `replicas` - 1.
    """

    def __init__(self, array: Any, offset: Sequence[int], global_shape: Sequence[int], replica: int = 0,
                 replicas: int = 1) -> None:
        if kind_of(array) is None:
            raise TypeError(f"a Shard is of a tensor or an array, not of a {type(array).__name__}")
        if is_distributed(array):
            raise TypeError("a DTensor knows which part of it is here; it needs no Shard")
        self.array = array
        self.offset = tuple(int(extent) for extent in offset)
        self.global_shape = tuple(int(extent) for extent in global_shape)
        self.replica, self.replicas = int(replica), int(replicas)
        shape = shape_of(array)
        if not len(shape) == len(self.offset) == len(self.global_shape) or any(
                not 0 <= at <= at + extent <= whole
                for at, extent, whole in zip(self.offset, shape, self.global_shape)):
            raise ValueError(f"a box of shape {shape} at {self.offset} does not lie inside of a tensor of "
                             f"shape {self.global_shape}")
        if not 0 <= self.replica < self.replicas:
            raise ValueError(f"replica {replica} of {replicas}: they are counted from 0")

    def __repr__(self) -> str:
        copy = f", replica {self.replica} of {self.replicas}" if self.replicas > 1 else ""
        return f"Shard({dtype_of(self.array)} {shape_of(self.array)} at {self.offset} of {self.global_shape}{copy})"

    def part(self) -> Optional[Shard]:
        """What this replica writes: rows of the box, or nothing."""
        rows = int(self.array.shape[0]) if self.offset else 1
        first, end = rows * self.replica // self.replicas, rows * (self.replica + 1) // self.replicas
        if end - first == rows and (rows > 0 or self.replica == 0):
            return self
        if first == end:
            return None
        offset = (self.offset[0] + first, *self.offset[1:])
        return Shard(self.array[first:end], offset, self.global_shape)


def shard_of(value: Any, path: str) -> Any:
    """A DTensor of torch (a part of a tensor, or a copy of it, on each rank of a mesh) as a Shard over its memory; what
    is none comes back as it is."""
    if not is_distributed(value):
        return value
    if any(placement.is_partial() for placement in value.placements):
        raise TypeError(f"{path}: a DTensor with the placements {value.placements} is a sum that has not been made; "
                        "redistribute() it first")
    if value.device_mesh.get_coordinate() is None:
        raise TypeError(f"{path}: a DTensor on {value.device_mesh}, of which this rank is no part; leave it out here")
    local = value.to_local()
    offset = _box_of(value)
    replica, replicas = 0, 1
    for placement, at, size in zip(value.placements, value.device_mesh.get_coordinate(), value.device_mesh.shape):
        if placement.is_replicate():
            replica, replicas = replica * size + at, replicas * size
    try:
        return Shard(local, offset, value.shape, replica, replicas)
    except ValueError as error:
        raise TypeError(f"{path}: a DTensor with the placements {value.placements}: {error}") from None


def is_distributed(value: Any) -> bool:
    return hasattr(value, "to_local") and hasattr(value, "placements")


def _box_of(tensor: Any) -> Sequence[int]:
    """Where this rank's part of a DTensor begins."""
    try:
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
    except ImportError:
        from torch.distributed._tensor._utils import compute_local_shape_and_global_offset
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    # An empty part may be said to begin beyond the end.
    return [min(at, whole - extent) for at, whole, extent in zip(offset, tensor.shape, shape)]


def kind_of(value: Any) -> Optional[str]:
    """TORCH, NUMPY, or None for what is no tensor."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        return TORCH
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return NUMPY
    return None


def shape_of(array: Any) -> Tuple[int, ...]:
    return tuple(int(extent) for extent in array.shape)


def dtype_of(array: Any) -> str:
    """Of safetensors; TypeError for a tensor that no checkpoint can hold."""
    ours = kind_of(array) == TORCH
    own = str(array.dtype).replace("torch.", "") if ours else array.dtype.name
    known = _TORCH if ours else _NUMPY
    if own not in known:
        raise TypeError(f"its dtype is {own}; a checkpoint holds {', '.join(sorted(known))}")
    if ours:
        if str(array.layout) != "torch.strided":
            raise TypeError(f"its layout is {array.layout}; make it dense first: to_dense()")
        if array.device.type == "meta":
            raise TypeError("it is on the meta device and has no values")
    elif array.dtype.byteorder == ">":
        raise TypeError("it is big-endian; astype(array.dtype.newbyteorder('<')) makes one that is not")
    return known[own]


def read_only(array: Any) -> bool:
    if kind_of(array) == TORCH:
        return any(stride == 0 and extent > 1 for stride, extent in zip(array.stride(), array.shape))
    return kind_of(array) == NUMPY and (not hasattr(array, "flags") or not array.flags.writeable
                                        or not hasattr(array, "__setitem__"))


def why_read_only(array: Any) -> str:
    if kind_of(array) == TORCH:
        return "several elements of this expanded tensor are one; give tensor.clone()"
    if hasattr(array, "__setitem__"):
        return "the array cannot be written to"
    return f"a scalar of numpy ({array.dtype}) cannot be filled; give numpy.array(x), or a number: float(x), int(x)"


def bytes_of(array: Any) -> int:
    return int(array.numel() * array.element_size() if kind_of(array) == TORCH else array.nbytes)


def copied(array: Any) -> Any:
    return array.clone() if kind_of(array) == TORCH else array.copy()


def over(kind: Optional[str], dtype: str, shape: Tuple[int, ...], address: int, owner: Any = None) -> Any:
    """A tensor or array over memory that `owner` keeps; by default numpy's, if it has such a dtype."""
    if kind == TORCH or (kind is None and dtype not in _NUMPY_OF):
        import torch
        own = getattr(torch, _TORCH_OF.get(dtype, dtype), None)
        if own is None:
            raise TypeError(f"torch {torch.__version__} has no dtype for {dtype}")
        count = _count(shape)
        if count == 0:
            return torch.empty(shape, dtype=own)
        size = count * torch.empty((), dtype=own).element_size()
        return torch.frombuffer(_buffer(address, size, owner), dtype=own).reshape(shape)
    import numpy
    if dtype not in _NUMPY_OF:
        raise TypeError(f"numpy has no dtype for {dtype}")
    own = numpy.dtype(_NUMPY_OF[dtype])
    count = _count(shape)
    if count == 0:
        return numpy.empty(shape, dtype=own)
    return numpy.frombuffer(_buffer(address, count * own.itemsize, owner), dtype=own).reshape(shape)


def copy_out(array: Any, first: int, rows: int, address: int) -> None:
    """Rows [first, first + rows), or all of a scalar, into memory."""
    part = array if not array.shape else array[first:first + rows]
    kind = kind_of(array)
    into = over(kind, dtype_of(array), shape_of(part), address)
    if kind == TORCH:
        into.copy_(part.detach())  # From any device, with any strides.
    else:
        into[...] = part


def copy_in(array: Any, address: int) -> None:
    """All of an array from memory."""
    kind = kind_of(array)
    values = over(kind, dtype_of(array), shape_of(array), address)
    if kind == TORCH:
        array.detach().copy_(values)
    else:
        array[...] = values


def _count(shape: Tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _buffer(address: int, size: int, owner: Any) -> Any:
    buffer = (ctypes.c_char * size).from_address(address)
    buffer.owner = owner
    return buffer
