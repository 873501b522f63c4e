"""What a training script tells muster, and may ask of it.

    import muster

    for step in range(first, steps):
        loss = train(step)
        muster.progress(step + 1, loss=loss)   # `muster show JOB` draws the curve
        if muster.should_stop():               # cancelled or preempted: all ranks hear it at one step
            break

Outside muster everything is a harmless no-op: rank 0 of 1 (or what torchrun or mpirun say), never a
reason to stop.  Only save() raises there: a script must not believe that it saved.  Nothing costs more
than a few microseconds, except kv_set, kv_get and checkpoints:

    found = muster.load()                      # the newest that is committed, or None
    muster.save(step, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})

Any thread may call anything (saves and loads take turns); in forked children, such as a data loader's
workers, everything is silent, but saves and loads raise.  No signal handler is set.
"""

from __future__ import annotations

import contextlib as _contextlib
import ctypes as _ctypes
import warnings as _warnings
from typing import Optional, SupportsFloat, Union

from . import _native
from ._checkpoint import Loaded, Shard, can_save, load, load_into, save, saved_step, wait_saved
from ._native import Error

__all__ = ["Error", "Loaded", "Shard", "attempt", "can_save", "grace_left", "job_id", "kv_get", "kv_set", "linked", "load",
           "load_into", "local_rank", "local_world_size", "node_rank", "note", "num_nodes", "phase", "progress",
           "rank", "run_id", "save", "saved_step", "should_stop", "wait_saved", "world_size"]

_lib = _native.load()
_RANK: int = _lib.muster_rank()  # Opens the link, so that no program started later inherits it.
_NO_LOSS = float("-inf")
_own_keys: "dict[str, bytes]" = {}  # Of a process that is alone.

# As enum muster_phase in muster_client.h.
PHASES = ("starting", "restoring", "training", "checkpoint", "stopping", "data", "forward", "backward",
          "comm", "optimizer", "evaluation")
_NUMBER_OF = {name: number for number, name in enumerate(PHASES)}


# ---- who is this ---------------------------------------------------------------------------------


def rank() -> int:
    """This process's rank in the job, from 0."""
    return _RANK


def world_size() -> int:
    """Number of ranks of the job."""
    return int(_lib.muster_world_size())


def local_rank() -> int:
    """This process's number among the ranks of its node."""
    return int(_lib.muster_local_rank())


def local_world_size() -> int:
    """Number of ranks on this node."""
    return int(_lib.muster_local_world_size())


def node_rank() -> int:
    """This node's number in the job."""
    return int(_lib.muster_node_rank())


def num_nodes() -> int:
    """Number of nodes of the job."""
    return int(_lib.muster_num_nodes())


def attempt() -> int:
    """From 0; grows with each restart of the job."""
    return int(_lib.muster_attempt())


def job_id() -> str:
    """The job's number in its cluster; empty outside muster."""
    return str(_lib.muster_job_id().decode())


def run_id() -> str:
    """32 hexadecimal digits that no other job has; the same in each attempt; empty outside muster."""
    return str(_lib.muster_run_id().decode())


def linked() -> bool:
    """Whether this process can speak to muster; False outside it, and in forked children."""
    return bool(_lib.muster_linked())


# ---- progress ------------------------------------------------------------------------------------


def progress(step: int, loss: Optional[SupportsFloat] = None, tokens: int = 0) -> None:
    """`step` steps are done.  Never waits, never raises for want of a link.

    loss: anything that float() takes.  Only rank 0's counts; elsewhere it is not even converted, so that
    a loss on a GPU costs no synchronisation there.
    tokens: processed by all ranks since the run began (or samples); 0 when nobody counts.
    """
    number = _NO_LOSS if loss is None or _RANK != 0 else float(loss)
    _lib.muster_progress(step, number, tokens)


class _Phase(_contextlib.ContextDecorator):
    current = _NUMBER_OF["training"]  # Of the process.

    def __init__(self, number: int) -> None:
        self._number = self._before = number

    def __enter__(self) -> None:
        self._before, _Phase.current = _Phase.current, self._number
        _lib.muster_enter_phase(_Phase.current)

    def __exit__(self, *unused: object) -> None:
        _Phase.current = self._before
        _lib.muster_enter_phase(_Phase.current)


def phase(name: str) -> _Phase:
    """Where this rank is, until the end of a `with` block:  with muster.phase("data"): batch = next(it)

    Afterwards it is where it was before, at first in "training".  `muster show` tells rank 0's phase, and its
    time in each.
    """
    if name not in _NUMBER_OF:
        raise ValueError(f"there is no phase {name!r}; the phases are {', '.join(PHASES)}")
    return _Phase(_NUMBER_OF[name])


def note(text: str) -> None:
    """Adds a line to the job's story, as `muster events JOB` tells it."""
    _lib.muster_note(text.replace("\0", " ").encode())


# ---- stop ----------------------------------------------------------------------------------------


def should_stop() -> bool:
    """Whether the job is to stop: then save, and leave with 0.

    Call it once a step on every rank: all of them get True at the same call, so that none is left waiting
    in a collective.  For that it may say False for up to a second after the job was cancelled.
    """
    return bool(_lib.muster_should_stop())


def grace_left() -> Optional[float]:
    """Seconds until the job is killed; None when nobody asked it to stop."""
    left = int(_lib.muster_grace_left_ms())
    return None if left < 0 else left / 1000


# ---- keys ----------------------------------------------------------------------------------------


def kv_set(key: str, value: Union[str, bytes]) -> None:
    """Sets a key that every rank of this attempt can get; at most 60,000 bytes with its value.

    An attempt may have 64 MiB of keys and values, where each key counts 128 bytes more: the one that goes
    beyond is not set (`muster events JOB` tells which), and all later calls raise Error.
    """
    data = value.encode() if isinstance(value, str) else bytes(value)
    status = _lib.muster_kv_set(_name(key, len(data)), data, len(data))
    if status == _native.NO_LINK and world_size() == 1:
        _own_keys[key] = data
        return
    _check(status, key)


def kv_get(key: str, timeout: float = 60.0) -> bytes:
    """The key's value, once some rank has set it; TimeoutError after `timeout` seconds."""
    room = _ctypes.c_size_t(_native.KV_MAX)
    buffer = _ctypes.create_string_buffer(_native.KV_MAX)
    wait_ms = min(max(int(timeout * 1000), 0), 0xFFFFFFFF)
    status = _lib.muster_kv_get(_name(key, 0), buffer, _ctypes.byref(room), wait_ms)
    alone = status == _native.NO_LINK and world_size() == 1
    if alone and key in _own_keys:
        return _own_keys[key]
    if alone or status == _native.TIMEOUT:
        raise TimeoutError(f"no rank set the key {key!r} within {timeout:g} s")
    _check(status, key)
    return buffer.raw[:room.value]


def _name(key: str, beside: int) -> bytes:
    name = key.encode()
    if not name or b"\0" in name or name.startswith(b"muster."):
        raise ValueError(f"{key!r} is no key: not empty, without NUL, and not beginning with 'muster.'")
    if len(name) + beside > _native.KV_MAX:
        raise ValueError(f"{key[:100]!r} and its value have {len(name) + beside} bytes; at most "
                         f"{_native.KV_MAX} are allowed")
    return name


def _check(status: int, key: str) -> None:
    if status != 0:
        raise Error(f"{_lib.muster_status_text(status).decode()}: key {key!r}")


def _complain() -> None:
    complaint = _lib.muster_complaint().decode(errors="replace")
    if complaint:
        _warnings.warn(f"muster: {complaint}; this process counts as rank 0 of 1", stacklevel=3)


_complain()
