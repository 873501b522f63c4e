"""A training loop in Python, as client_rank.c is one in C.

usage: train.py STEPS FOLDER
"""

import multiprocessing
import os
import sys

import muster

STEPS, FOLDER = int(sys.argv[1]), sys.argv[2]


def worker(number):
    """A data loader's: what it says must not be taken for the rank's."""
    muster.progress(10**9, loss=1e9)
    return muster.linked(), muster.should_stop(), number


def exchange(step):
    """No rank can be more than a step ahead of another, as with a collective."""
    muster.kv_set(f"gradient/{step}/{muster.rank()}", str(muster.rank()))
    for rank in range(muster.world_size()):
        got = muster.kv_get(f"gradient/{step}/{rank}", timeout=60)
        assert got == str(rank).encode(), got


def main():
    print(f"rank {muster.rank()} of {muster.world_size()}, local {muster.local_rank()} of "
          f"{muster.local_world_size()}, node {muster.node_rank()} of {muster.num_nodes()}, "
          f"attempt {muster.attempt()}", flush=True)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        heard = pool.map(worker, range(4))
    assert heard == [(False, False, number) for number in range(4)], heard
    if muster.rank() == 0:
        muster.note("the workers were silent")
    try:
        muster.kv_get("nobody sets it", timeout=0.02)
        raise AssertionError("a key that nobody set")
    except TimeoutError:
        pass
    for step in range(1, STEPS + 1):
        with muster.phase("comm"):
            exchange(step)
        muster.progress(step, loss=8 / step, tokens=100 * step)
        if muster.should_stop():
            assert muster.grace_left() > 0
            with open(os.path.join(FOLDER, f"saved-{muster.rank()}"), "w", encoding="ascii") as file:
                file.write(str(step))
            print("stopped", flush=True)
            return
    print("done", flush=True)


main()
