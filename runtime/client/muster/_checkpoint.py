"""Save and load, over muster_checkpoint.h."""

from __future__ import annotations

import ctypes
import json
import math
import operator
import os
import threading
import time
import warnings
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import _arrays, _native, _state
from ._arrays import Shard
from ._native import Error

_SMALL = 64 << 10  # Bytes; what is larger may keep the memory of a whole load.
_STATE = "muster.state"  # In the metadata: the tree of _state.py.
_SLICE_MS = 200  # Of a wait, so that Ctrl-C is heard.
_FOR_EVER_MS = 0xFFFFFFFF
_lib = _native.load()


class _Turn:
    """One save or load of the process at a time, whatever thread it is of."""

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)  # Who has the turn now is not in the child.

    def _renew(self) -> None:
        self._lock, self._thread = threading.Lock(), 0

    def __enter__(self) -> None:
        if self._thread == threading.get_ident():
            raise Error("this thread is in a save or load already: a signal handler must not begin another one; let "
                        "it set a flag (muster.should_stop() is one), and save at the end of the step")
        self._lock.acquire()
        self._thread = threading.get_ident()

    def __exit__(self, *unused: object) -> None:
        self._thread = 0
        self._lock.release()


_turn = _Turn()


class Loaded(NamedTuple):
    """What muster.load() found."""

    step: int
    state: Dict[str, Any]
    metadata: Dict[str, Any]


def can_save() -> bool:
    """Whether the job has a checkpoint store.  Without one, or outside muster, save() raises Error and load()
    finds nothing."""
    return bool(_lib.muster_can_save())


# ---- save ----------------------------------------------------------------------------------------


def save(step: int, state: Dict[str, Any], metadata: Optional[Dict[str, Any]] = None,
         timeout: Optional[float] = 600.0) -> bool:
    """Saves `state` as the checkpoint of `step`; all ranks call it at the same steps, not rank 0 alone.

    Returns when everything is copied to this node's staging memory: it is written meanwhile, and committed when the
    parts of all ranks are there, or not at all.  wait_saved() tells.

    state: a dict of names; values are tensors of torch (on any device), numpy's arrays, Shards, dicts and lists of
    these, and numbers, strings, None.  A tensor is taken to be the same on all ranks, as under DDP, and each rank
    writes an even part of it; a Shard is this rank's own.  A DTensor, as of FSDP2 or tensor parallelism, says itself
    which part of it is here; what several ranks have a copy of (HSDP) they write together.  Numbers and strings are
    rank 0's.  What differs by rank, such as a random generator's state, is a row of a Shard, found.state["rng"][rank]
    afterwards:

        rng = torch.get_rng_state()
        {..., "rng": muster.Shard(rng[None], (rank, 0), (world_size, len(rng)))}

    metadata: a dict that JSON can say; rank 0's.  `muster ckpt show` prints it.
    timeout: seconds for the other ranks of this node to come, and for one of two staging memories to be free; None
    is no limit.  When both are still being written after that, the step is not saved: False, and a warning.  Every
    other reason not to save raises Error.

    A rank that does not come in that time, or has ended, is named by the Error of the others: that of save() on its own
    node, of wait_saved() elsewhere (there after checkpoint.deadline of the job at the earliest).
    Steps grow; the step that was saved last is not saved again.  A process that ends without an exception ends with
    its saves committed, within the job's grace.
    """
    leaves, tree = _state.flatten(state)
    told = _metadata(metadata, tree)
    parts = {name: leaf.part() if isinstance(leaf, Shard) else leaf for name, leaf in leaves.items()}
    tensors = _Tensors({name: part for name, part in parts.items() if part is not None})
    number, wait_ms = _step(step), _ms(timeout)
    pieces, count = ctypes.POINTER(_native.Piece)(), ctypes.c_size_t()
    with _turn, _phase("checkpoint"):
        _warn_of_failure()
        try:
            status = _lib.muster_save_begin(number, tensors.all, len(tensors.all), told, wait_ms, ctypes.byref(pieces),
                                            ctypes.byref(count))
            if status == _native.BUSY:
                _told.add(_error())
                _left_out.add(_error())
                warnings.warn(f"muster: {_error()}", stacklevel=2)
                return False
            _check(status)
            for piece in pieces[:count.value]:
                if piece.bytes:
                    _arrays.copy_out(tensors.arrays[piece.tensor], piece.first, piece.rows, piece.into)
            _check(_lib.muster_save_end(None))
        except BaseException as error:  # Also Ctrl-C between any two of these lines.
            _lib.muster_save_end(f"{type(error).__name__}: {error}".encode(errors="replace")[:1000])
            raise
    return True


def wait_saved(timeout: Optional[float] = None) -> Optional[int]:
    """Waits until no save is under way; the newest step that this attempt committed, or None if there is none.

    Error: the last save failed, and why; not of one that was left out, where save() returned False.
    TimeoutError: it is still under way after `timeout` seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _SLICE_MS if deadline is None else max(int((deadline - time.monotonic()) * 1000), 0)
        status, step = _wait(min(left, _SLICE_MS))
        if status != _native.TIMEOUT:
            break
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"{_error()} after {timeout:g} s")
    if status == _native.NOT_SAVED:
        if _error() in _left_out:
            return step
        _told.add(_error())
    if status != _native.NO_LINK:
        _check(status)
    return step


def saved_step() -> Optional[int]:
    """The newest step that this attempt has committed so far, or None.  Does not wait."""
    return _wait(0)[1]


def _wait(timeout_ms: int) -> Tuple[int, Optional[int]]:
    step = ctypes.c_int64(-1)
    status = _lib.muster_wait_saved(ctypes.byref(step), timeout_ms)
    return status, None if step.value < 0 else step.value


_told: "set[str]" = set()  # Failures that the script has heard of.
_left_out: "set[str]" = set()  # Those of them that save() returned False for.


def _warn_of_failure() -> None:
    if _wait(0)[0] == _native.NOT_SAVED and _error() not in _told:
        _told.add(_error())
        warnings.warn(f"muster: {_error()}", stacklevel=3)


# ---- load ----------------------------------------------------------------------------------------


def load(pattern: str = "*", timeout: Optional[float] = 600.0) -> Optional[Loaded]:
    """The newest checkpoint of this run: (step, state, metadata), or None when there is none.

    All ranks call it.  `state` is nested as it was saved, of what matches `pattern` (* and ? as in a shell) by name;
    tensors are whole, on the CPU.  Those of more than 64 KiB lie in memory that the ranks of a node share until they
    are written to; it is given back when the last of them is.  Error if there is a checkpoint, and nothing matches.
    timeout: seconds for the other ranks to come; None is no limit.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"the pattern is {pattern!r:.100}; it must be a string, such as 'model.*'")
    memory = _matching(_lib.muster_load_any, pattern, _ms(timeout))
    if memory is None:
        return None
    tensors = {tensor.name.decode(): tensor for tensor in memory.tensors()}

    def make(name: str, kind: Optional[str]) -> Any:
        tensor = tensors[name]
        array = _arrays.over(kind, tensor.dtype.decode(), tuple(tensor.shape[:tensor.ndim]), tensor.data, memory)
        return _arrays.copied(array) if _arrays.bytes_of(array) <= _SMALL else array

    metadata = memory.metadata()
    tree = metadata.pop(_STATE, None)
    state = _state.unflatten(tree, make, list(tensors), pattern)
    if not state:
        _matching(_lib.muster_load, pattern, _ms(timeout))  # An Error that says what is there, if anything is.
    return Loaded(memory.step(), state, metadata)


def _matching(load_by: Callable[..., int], pattern: str, wait_ms: int) -> "Optional[_Memory]":
    handle = ctypes.POINTER(_native.Checkpoint)()
    with _turn, _phase("restoring"):
        status = load_by(pattern.encode(), ctypes.byref(handle), wait_ms)
    if status == _native.NONE:
        return None
    _check(status)
    return _Memory(handle)


def load_into(state: Dict[str, Any], timeout: Optional[float] = 600.0) -> Optional[Tuple[int, Dict[str, Any]]]:
    """Fills the tensors, DTensors, arrays and Shards of `state` from the newest checkpoint; (step, metadata), or None
    when there is none.

    From any number of ranks to any other, each with the boxes that it wants.  When a name is missing in the checkpoint
    or has another dtype or shape there, Error says which and nothing is filled.  Numbers and strings in the dicts and
    lists of `state` are set, too.

    What the checkpoint has beyond `state` is left alone, with a warning where it lies in a dict or list of `state`.  An
    empty one that has tensors in the checkpoint is an Error: an optimizer of torch has no moments before its first
    step, so there is nothing to fill.  For it, use load() and load_state_dict():

        found = muster.load()
        model.load_state_dict(found.state["model"])
        optimizer.load_state_dict(found.state["optimizer"])
    """
    leaves, _ = _state.flatten(state)
    tensors = _Tensors(leaves)
    for name, array in zip(leaves, tensors.arrays):
        if _arrays.read_only(array):
            raise ValueError(f"{name}: {_arrays.why_read_only(array)}")
    handle, wait_ms = ctypes.POINTER(_native.Checkpoint)(), _ms(timeout)
    with _turn, _phase("restoring"):
        status = _lib.muster_load_into(tensors.all, len(leaves), ctypes.byref(handle), wait_ms)
        if status == _native.NONE:
            return None
        _check(status)
    memory = _Memory(handle)
    metadata = memory.metadata()
    tree = metadata.pop(_STATE, None)
    left_out = _state.left_out(state, leaves, tree)
    if left_out:
        warnings.warn(f"muster: {left_out}", stacklevel=2)
    for array, tensor in zip(tensors.arrays, memory.tensors()):
        if 0 not in _arrays.shape_of(array):
            _arrays.copy_in(array, tensor.data)
    _state.set_values(state, _state.values(tree))
    return memory.step(), metadata


# ---- what they share -----------------------------------------------------------------------------


class _Tensors:
    """Named tensors as the C library wants them, without data."""

    def __init__(self, leaves: Dict[str, Any]) -> None:
        self.arrays: List[Any] = []
        self.all = (_native.Tensor * len(leaves))()
        self._kept: List[Any] = []
        for entry, (name, leaf) in zip(self.all, leaves.items()):
            array = leaf.array if isinstance(leaf, Shard) else leaf
            self.arrays.append(array)
            try:
                entry.dtype = _arrays.dtype_of(array).encode()
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
            if "\0" in name:
                raise ValueError(f"{name!r}: a name has no NUL")
            entry.name = name.encode()
            entry.ndim = len(array.shape)
            entry.shape = self._extents(_arrays.shape_of(array))
            if isinstance(leaf, Shard):
                entry.offset = self._extents(leaf.offset)
                entry.global_shape = self._extents(leaf.global_shape)

    def _extents(self, numbers: Tuple[int, ...]) -> Any:
        extents = (ctypes.c_uint64 * max(len(numbers), 1))(*numbers)
        self._kept.append(extents)
        return ctypes.cast(extents, ctypes.POINTER(ctypes.c_uint64))


class _Memory:
    """A muster_checkpoint, as long as something lies over it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._close = _lib.muster_close_checkpoint

    def __del__(self) -> None:
        self._close(self._handle)

    def step(self) -> int:
        return int(self._handle.contents.step)

    def metadata(self) -> Dict[str, Any]:
        text = self._handle.contents.metadata
        return dict(json.loads(text)) if text else {}

    def tensors(self) -> List[Any]:
        return list(self._handle.contents.tensors[:self._handle.contents.count])


def _metadata(metadata: Optional[Dict[str, Any]], tree: Any) -> bytes:
    if metadata is not None and (not isinstance(metadata, dict) or _STATE in metadata):
        raise TypeError(f"the metadata is a dict without {_STATE!r}, not {metadata!r:.100}")
    try:
        return json.dumps({**(metadata or {}), _STATE: tree}, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(f"the metadata cannot be said in JSON: {error}") from None


def _step(step: int) -> int:
    try:
        number = operator.index(step)  # Of int or of numpy.
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise ValueError(f"the step is {step!r}; it must be a whole number that is not negative")
    return number


def _ms(seconds: Optional[float]) -> int:
    if seconds is None:
        return _FOR_EVER_MS
    try:
        number = float(seconds)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"the timeout is {seconds!r}; it must be a number of seconds, or None for no limit")
    return int(min(max(number * 1000, 0), _FOR_EVER_MS))


def _phase(name: str) -> Any:
    from . import phase
    return phase(name)


def _error() -> str:
    return str(_lib.muster_error().decode(errors="replace"))


def _check(status: int) -> None:
    if status == _native.TIMEOUT:
        raise TimeoutError(_error() or "the job daemon does not answer")
    if status != 0:
        raise Error(_error() or _lib.muster_status_text(status).decode())
