"""What can be done wrong, on two nodes of two ranks: each time an error that says what, and the next save works.

All ranks do the same, unless it is just that which is wrong.
"""

import types
import warnings

import numpy

import muster
from muster import _state

RANK = muster.rank()
GOOD = {"a": numpy.arange(10.0), "b": {"c": numpy.arange(4, dtype=numpy.int32)}}


def fails(call, *texts, kind=muster.Error):
    try:
        call()
    except kind as error:
        for text in texts:
            assert text in str(error), f"{text!r} is not in {error}"
        return
    raise AssertionError(f"no error that says {texts}")


def mistakes_that_nobody_else_hears_of():
    fails(lambda: muster.save(1, numpy.zeros(3)), "it must be a dict of names", kind=TypeError)
    fails(lambda: muster.save(1, {"a": {1, 2}}), "a: a set cannot be saved", kind=TypeError)
    fails(lambda: muster.save(1, {"m": {"x": numpy.zeros(2, complex)}}), "m.x: its dtype is complex128",
          kind=TypeError)
    fails(lambda: muster.save(1, {"x": numpy.zeros(2, ">f4")}), "x: it is big-endian", kind=TypeError)
    fails(lambda: muster.save(1, {"a.b": numpy.zeros(1), "a": {"b": numpy.zeros(1)}}),
          "two tensors would be named 'a.b'", kind=ValueError)
    fails(lambda: muster.save(1, {"m": {"s": "\ud800"}}), "m.s: the string '\\ud800' cannot be saved", kind=ValueError)
    fails(lambda: muster.save(1, {"m": {"\ud800": 1}}), "m: the string '\\ud800' cannot be saved", kind=ValueError)
    fails(lambda: muster.save(1, {"n": -10**400}), "n: an integer of 1329 bits cannot be saved", kind=ValueError)
    fails(lambda: muster.save(1, GOOD, {"x": object()}), "cannot be said in JSON", kind=TypeError)
    fails(lambda: muster.save(-1, GOOD), "not negative", kind=ValueError)
    fails(lambda: muster.Shard(numpy.zeros(4), (5,), (8,)), "does not lie inside", kind=ValueError)
    fails(lambda: muster.Shard([1], (0,), (1,)), "not of a list", kind=TypeError)
    fails(lambda: muster.save("1", GOOD), "the step is '1'", "whole number", kind=ValueError)
    fails(lambda: muster.save(1.5, GOOD), "the step is 1.5", kind=ValueError)
    for timeout in ("soon", float("nan")):
        fails(lambda timeout=timeout: muster.save(1, GOOD, timeout=timeout),
              f"the timeout is {timeout!r}; it must be a number of seconds, or None", kind=ValueError)
    fails(lambda: muster.load(None), "the pattern is None", kind=TypeError)
    fails(lambda: muster.save(1, {"": numpy.zeros(1)}), "a key of the state is empty", kind=ValueError)
    fails(lambda: muster.save(1, {"": {"b": 3}}), "a key of the state is empty", kind=ValueError)
    for name in ("x" * 1001, "a\nb", "__metadata__"):
        fails(lambda name=name: muster.save(1, {name: numpy.zeros(1)}), f'tensor "{name[:200]}',
              "a name has 1 to 1000 bytes, no control characters, and is not __metadata__")
    fails(lambda: muster.save(1, {"m": {"w": Distributed()}}), "m.w: a DTensor with the placements ", "is a sum that "
          "has not been made; redistribute() it first", kind=TypeError)
    fails(lambda: muster.load_into({"m": [Distributed()]}), "m.0: a DTensor", kind=TypeError)
    fails(lambda: muster.Shard(Distributed(), (0,), (2,)), "it needs no Shard", kind=TypeError)
    fails(lambda: muster.Shard(numpy.zeros(2), (0,), (2,), 2, 2), "replica 2 of 2", kind=ValueError)
    fails(lambda: muster.load_into({"lr": numpy.float32(1)}), "lr: a scalar of numpy (float32) cannot be filled; give "
          "numpy.array(x), or a number", kind=ValueError)


class Distributed(numpy.ndarray):
    """Looks like torch's DTensor, of which no addition was made yet."""

    placements = [types.SimpleNamespace(is_partial=lambda: True)]

    def __new__(cls):
        return numpy.zeros(2).view(cls)

    def to_local(self):
        return self


def ranks_that_disagree():
    # Two ranks of each node come with different steps.
    fails(lambda: muster.save(1 + RANK % 2, GOOD), "saves step 1", "saves step 2", " while rank ",
          "all ranks save the same steps, in the same order")
    # Rank 3 cannot copy.
    class Broken(numpy.ndarray):
        def __getitem__(self, _):
            raise OSError("no such page")
    state = {"a": numpy.zeros(8).view(Broken) if RANK == 3 else numpy.zeros(8)}
    if RANK == 3:
        fails(lambda: muster.save(3, state), "no such page", kind=OSError)
    else:
        assert muster.save(3, state)
    fails(muster.wait_saved, "step 3 was not saved: ", "no such page")
    # A hole, which only the manifest shows.
    half = muster.Shard(numpy.zeros(2), (2 * (RANK % 2),), (8,))
    assert muster.save(4, {"half": half} if RANK < 2 else {})
    fails(muster.wait_saved, "step 4 was not saved: ", "half")
    fails(lambda: muster.save(4, GOOD), "step 4 was not saved: ")
    fails(lambda: muster.save(3, GOOD), "step 3 comes after step 4")
    # A rank that does not come.
    if RANK == 0:
        fails(lambda: muster.save(5, GOOD, timeout=0.3), "rank 1 did not save step 5 in time")
        muster.kv_set("rank 0 has given up", "")
    elif RANK == 1:
        muster.kv_get("rank 0 has given up")
    else:
        assert muster.save(5, GOOD)
        fails(muster.wait_saved, "step 5 was not saved: node n0 skipped it: rank 1 did not save step 5 in time")
    assert muster.load(timeout=None) is None
    # Replicas.
    assert muster.save(6, {"s": muster.Shard(numpy.zeros(2), (0,), (2,))})
    fails(muster.wait_saved, " is saved by two ranks; where several have the same part")


def loads_that_do_not_fit():
    assert muster.save(8, {**GOOD, "n": 5, "s": muster.Shard(numpy.full(2, RANK), (2 * RANK,), (8,))})
    assert muster.save(8, {"other": numpy.zeros(1)})  # Not again.
    assert muster.wait_saved(60) == 8
    a = numpy.full(10, 7.0)
    fails(lambda: muster.load_into({"a": a, "x": numpy.zeros(1)}), 'the checkpoint has no tensor "x"; it has 3 tensors, such as "a"')
    fails(lambda: muster.load_into({"a": a, "b": {"c": numpy.zeros(5, numpy.int32)}}),
          'tensor "b.c" is I32 [4] in the checkpoint, and I32 [5] is wanted')
    fails(lambda: muster.load_into({"a": a, "b": {"c": numpy.zeros(4)}}), "I32 [4]", "F64 [4]")
    fails(lambda: muster.load_into({"a": numpy.broadcast_to(a, (10,))}), "cannot be written", kind=ValueError)
    assert (a == 7).all(), "half filled"
    fails(lambda: muster.load("nothing*"), 'no tensor of the checkpoint matches "nothing*"', "it has 3 tensors")
    fails(lambda: muster.load(""), "a pattern")
    assert muster.load("n").state == {"n": 5} and muster.load("b.?").state["b"]["c"].tolist() == [0, 1, 2, 3]
    fails(lambda: muster.load("*" if RANK % 2 else "a"), "load different things")
    what_load_into_leaves_out()
    # Any box of it, also one that no rank saved.
    box = muster.Shard(numpy.zeros(3, int), (1 + RANK,), (8,))
    assert muster.load_into({"s": box, "a": a})[0] == 8
    assert list(box.array) == [(1 + RANK + i) // 2 for i in range(3)], box.array
    assert (a == numpy.arange(10)).all()


def what_load_into_leaves_out():
    """As a new optimizer of torch: it has no moments, and nothing that could be filled."""
    a, other = numpy.zeros(10), {"groups": [0.5]}
    fails(lambda: muster.load_into({"a": a, "b": {}}),
          "b is empty in the state that is to be filled; in the checkpoint it has 1 tensors (b.c): nothing is "
          "filled", "load_state_dict()", "or leave 'b' out")
    assert (a == 0).all()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert muster.load_into({"a": a, "b": other})[0] == 8
        assert muster.load_into({"a": a})[0] == 8
    assert [str(one.message) for one in told] == [
        "muster: the checkpoint has 1 tensors (b.c) beside those that load_into() was to fill"], told
    assert (a == numpy.arange(10)).all()


def trees_that_miss_something():
    def make(name, _):
        return name

    tree = {"a": {"x": "$n", "y": "$n"}, "b": "$n", "epoch": 3}
    fails(lambda: _state.unflatten(tree, make, ["a.x"]), "it names 2 tensors (a.y, b), which did not come with it")
    fails(lambda: _state.unflatten(tree, make, ["a.x"], "a.*"), "it names 1 tensors (a.y)")
    assert _state.unflatten(tree, make, ["a.x"], "a.x") == {"a": {"x": "a.x"}}
    assert _state.unflatten(tree, make, ["a.x", "a.y", "b"])["epoch"] == 3


trees_that_miss_something()
mistakes_that_nobody_else_hears_of()
ranks_that_disagree()
loads_that_do_not_fit()
assert muster.save(numpy.int64(9), GOOD, timeout=None)
print("all mistakes were told")
