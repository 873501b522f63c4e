"""Saves and loads in Python, as checkpoint_rank.c does in C.

usage: checkpoint_train.py STEPS FOLDER
"""

import os
import signal
import sys
import time

import numpy

import muster

try:
    import torch
except ImportError:
    torch = None

STEPS, FOLDER = int(sys.argv[1]), sys.argv[2]
ROWS = 12
FIRST = ROWS * muster.rank() // muster.world_size()
LAST = ROWS * (muster.rank() + 1) // muster.world_size()


def twin(whole):
    """A half of the rows, or all of them on two ranks; each twice there, as under HSDP."""
    halves = muster.world_size() // 2
    rows = slice(len(whole) * (muster.rank() // 2) // halves, len(whole) * (muster.rank() // 2 + 1) // halves)
    return muster.Shard(whole[rows], (rows.start,) + (0,) * (whole.ndim - 1), whole.shape, muster.rank() % 2, 2)


def computed(step):
    """The same on any number of ranks; of `own`, each has its rows."""
    weights = numpy.arange(ROWS * 7, dtype=numpy.float32).reshape(ROWS, 7) + 1000 * step
    own = (numpy.arange(ROWS * 3).reshape(ROWS, 3) + 31 * step).astype(numpy.uint8)
    state = {
        "model": {"a.weight": weights.T, "b": numpy.array(step, numpy.float16)},
        "own": muster.Shard(own[FIRST:LAST], (FIRST, 0), (ROWS, 3)),
        "twins": [twin(own[:7] * 3), twin(own[0]), twin(own[:2]), twin(own[:0]),
                  muster.Shard(numpy.array(step), (), (), muster.rank(), muster.world_size())],
        "optimizer": {"state": {0: {"step": numpy.array(step)}, 1: {}},
                      "groups": [{"lr": 0.5 ** step, "betas": (0.9, 0.95), "params": [0, 1]}]},
        "scheduler": {"best": float("inf"), "name": "$linear", "last": None},
    }
    if torch is not None:
        tensor = torch.arange(40, dtype=torch.float32).reshape(5, 8) + step
        state["torch"] = {"bf16": tensor.bfloat16(), "view": tensor.t()[1:3], "flags": tensor > 20 + step,
                          "leaf": torch.nn.Parameter(tensor), "none": torch.empty(0, 3)}
    return state


def same(a, b):
    """Of nested state; a Shard as a part of what is whole."""
    if isinstance(b, muster.Shard):
        return same(a[b.offset[0]:b.offset[0] + len(b.array)] if b.offset else a, b.array)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if torch is not None and isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, numpy.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return a == b and type(a) is type(b)


def cleared(node):
    """The same shapes, other values."""
    if isinstance(node, muster.Shard):
        return muster.Shard(cleared(node.array), node.offset, node.global_shape)
    if isinstance(node, dict):
        return {key: cleared(value) for key, value in node.items()}
    if isinstance(node, list):
        return [cleared(value) for value in node]
    if torch is not None and isinstance(node, torch.Tensor):
        return torch.zeros_like(node)
    if isinstance(node, (numpy.ndarray, numpy.generic)):
        return numpy.zeros_like(node)
    return node if node is None or isinstance(node, tuple) else type(node)()


def restored():
    """The step after which this attempt begins."""
    found = muster.load()
    if found is None:
        refuses_what_cannot_be_filled()
        assert muster.load_into(computed(0)) is None
        print("the run has no checkpoint yet", flush=True)
        return 0
    step, state, metadata = found
    right = same(state, computed(step)) and metadata == {"seed": 5}
    state["model"]["a.weight"][:] = -1  # A copy of its own.
    assert same(muster.load("model.*").state, {"model": computed(step)["model"]})
    into = cleared(computed(step))
    assert not same(into, computed(step))
    right = right and muster.load_into(into) == (step, {"seed": 5}) and same_values(into, computed(step))
    print(f"{muster.world_size()} ranks loaded step {step} {'right' if right else 'WRONG'}", flush=True)
    return step


def refuses_what_cannot_be_filled():
    if torch is not None:
        try:
            muster.load_into({"m": {"x": torch.zeros(1).expand(5)}})
        except ValueError as error:
            assert str(error).startswith("m.x: several elements of this expanded tensor are one"), error
        else:
            raise AssertionError("an expanded tensor was filled")


def same_values(a, b):
    if isinstance(a, muster.Shard):
        return same(a.array, b.array)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_values(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same_values, a, b))
    return same(a, b)


def die_in_the_middle_of_a_save(step):
    from muster import _arrays
    _arrays.copy_out = lambda *unused: os._exit(9)
    muster.save(step, computed(step))


def main():
    step = restored()
    while step < STEPS:
        step += 1
        if step % 2 == 0:
            assert muster.save(step, computed(step), {"seed": 5})
        muster.progress(step, loss=1)
        if step == 4 and muster.attempt() == 0:
            assert muster.wait_saved(60) == muster.saved_step() == 4
            print("committed step 4", flush=True)
            while not os.path.exists(os.path.join(FOLDER, "go")):
                time.sleep(0.01)
            if muster.rank() == muster.world_size() - 1:
                die_in_the_middle_of_a_save(step + 1)
            muster.save(step + 1, computed(step + 1))
            signal.pause()


if torch is None and muster.rank() == 0:
    print("skipped: torch's tensors, since there is no torch", flush=True)
main()
