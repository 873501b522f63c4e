"""libmuster_client, as ctypes sees it.  muster_client.h says what each call does."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

KV_MAX = 60000  # MUSTER_KV_MAX
NO_LINK = 1  # MUSTER_NO_LINK
TIMEOUT = 4  # MUSTER_TIMEOUT
BUSY = 9  # MUSTER_BUSY
NOT_SAVED = 10  # MUSTER_NOT_SAVED
NONE = 12  # MUSTER_NONE

_NAME = "libmuster_client.so"



class Error(RuntimeError):
    """A call could not be carried out; the message says why."""


Error.__module__ = "muster"
_NUMBERS = ctypes.POINTER(ctypes.c_uint64)


class Tensor(ctypes.Structure):
    """muster_tensor"""

    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_char_p), ("ndim", ctypes.c_uint32),
                ("shape", _NUMBERS), ("offset", _NUMBERS), ("global_shape", _NUMBERS),
                ("data", ctypes.c_void_p)]


class Piece(ctypes.Structure):
    """muster_piece"""

    _fields_ = [("tensor", ctypes.c_size_t), ("first", ctypes.c_uint64), ("rows", ctypes.c_uint64),
                ("bytes", ctypes.c_uint64), ("into", ctypes.c_void_p)]


class Checkpoint(ctypes.Structure):
    """muster_checkpoint"""

    _fields_ = [("step", ctypes.c_uint64), ("metadata", ctypes.c_char_p), ("count", ctypes.c_size_t),
                ("tensors", ctypes.POINTER(Tensor))]


class _Library:
    """Calls that may wait release the interpreter's lock; the others are too short for that."""

    def __init__(self, path: str) -> None:
        quick, patient = ctypes.PyDLL(path), ctypes.CDLL(path)
        integer, number = ctypes.c_int, ctypes.c_uint64
        for name in ("rank", "world_size", "local_rank", "local_world_size", "node_rank", "num_nodes",
                     "attempt", "linked"):
            self._bind(quick, name, integer)
        for name in ("job_id", "run_id", "complaint"):
            self._bind(quick, name, ctypes.c_char_p)
        self._bind(quick, "status_text", ctypes.c_char_p, integer)
        self._bind(quick, "progress", integer, number, ctypes.c_double, number)
        self._bind(quick, "enter_phase", integer, integer)
        self._bind(quick, "note", integer, ctypes.c_char_p)
        self._bind(patient, "should_stop", integer)
        self._bind(patient, "grace_left_ms", ctypes.c_int64)
        self._bind(patient, "kv_set", integer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
        self._bind(patient, "kv_get", integer, ctypes.c_char_p, ctypes.c_void_p,
                   ctypes.POINTER(ctypes.c_size_t), ctypes.c_uint32)

        self._bind_checkpoints(quick, patient)

    def _bind_checkpoints(self, quick: ctypes.CDLL, patient: ctypes.CDLL) -> None:
        integer, wait, text = ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p
        tensors, checkpoint = ctypes.POINTER(Tensor), ctypes.POINTER(Checkpoint)
        self._bind(quick, "can_save", integer)
        self._bind(quick, "error", text)
        self._bind(patient, "save_begin", integer, ctypes.c_uint64, tensors, ctypes.c_size_t, text, wait,
                   ctypes.POINTER(ctypes.POINTER(Piece)), ctypes.POINTER(ctypes.c_size_t))
        self._bind(patient, "save_end", integer, text)
        self._bind(patient, "wait_saved", integer, ctypes.POINTER(ctypes.c_int64), wait)
        self._bind(patient, "load", integer, text, ctypes.POINTER(checkpoint), wait)
        self._bind(patient, "load_any", integer, text, ctypes.POINTER(checkpoint), wait)
        self._bind(patient, "load_into", integer, tensors, ctypes.c_size_t, ctypes.POINTER(checkpoint),
                   wait)
        self._bind(quick, "close_checkpoint", None, checkpoint)

    def _bind(self, library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> None:
        function = library["muster_" + name]
        function.restype = result
        function.argtypes = list(arguments)
        setattr(self, "muster_" + name, function)


@functools.lru_cache(None)
def load() -> Any:
    """The library beside this file, else the system's."""
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), _NAME)
    try:
        return _Library(beside if os.path.exists(beside) else _NAME)
    except OSError as error:
        raise ImportError(f"{_NAME} is missing: {error}; build it (./dev build muster_client) or install "
                          "this package with pip") from error
