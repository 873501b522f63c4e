"""What threads, forked children and small tensors of one rank may expect of saves and loads."""

import os
import threading
import time

import numpy

import muster
from muster import _arrays

STATE = {"large": numpy.arange(1 << 17), "small": numpy.arange(10)}


def fails(call, text):
    try:
        call()
    except muster.Error as error:
        assert text in str(error), error
        return
    raise AssertionError(f"no error that says {text}")


def while_another_thread_saves(step, do):
    """Saves in a thread; calls `do` while that is copying."""
    copies, done, errors = threading.Event(), threading.Event(), []
    copy_out = _arrays.copy_out

    def slow(*arguments):
        copies.set()
        assert done.wait(60)
        copy_out(*arguments)

    def save():
        try:
            muster.save(step, STATE)
        except BaseException as error:
            errors.append(error)

    _arrays.copy_out = slow
    thread = threading.Thread(target=save)
    thread.start()
    assert copies.wait(60)
    _arrays.copy_out = copy_out
    do(done)
    done.set()
    thread.join()
    assert not errors, errors
    assert muster.wait_saved(60) == step


def two_threads_save_and_load_in_turn():
    heard = []

    def other():
        heard.append(muster.save(1, STATE))
        heard.append(muster.load("s*"))

    second = threading.Thread(target=other)

    def meanwhile(done):
        second.start()
        time.sleep(0.2)  # For what must not happen: it must wait until the first one is done.
        assert not heard, heard

    while_another_thread_saves(1, meanwhile)
    second.join()
    assert heard[0] is True and heard[1] is None or (heard[1].state["small"] == STATE["small"]).all(), heard


def a_child_that_is_forked_during_a_save_is_told():
    def fork(done):
        child = os.fork()
        if child == 0:
            text = "this is a forked child of rank 0, such as a worker of a data loader"
            fails(lambda: muster.save(2, STATE), "step 2 is not saved: " + text)
            fails(muster.load, text)
            fails(lambda: muster.load_into(STATE), text)
            assert muster.saved_step() is None
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    while_another_thread_saves(2, fork)


def a_save_within_a_save_is_refused():
    """As a signal handler might try."""
    copy_out = _arrays.copy_out

    def again(*arguments):
        fails(lambda: muster.save(3, STATE), "this thread is in a save or load already")
        copy_out(*arguments)

    _arrays.copy_out = again
    muster.save(3, STATE)
    _arrays.copy_out = copy_out
    assert muster.wait_saved(60) == 3


def mapped():
    """Memories of loads that this process has mapped."""
    with open("/proc/self/maps", encoding="ascii") as file:
        return sum("memfd:" in line and "rw-p" in line for line in file)


def small_tensors_keep_no_memory_of_a_load():
    before = mapped()
    state = muster.load().state
    assert mapped() == before + 1
    small, large = state["small"], state["large"]
    del state, large
    assert (small == STATE["small"]).all() and mapped() == before
    small[0] = 5


def earlier_steps_come_again_after_a_load():
    assert muster.save(20, {"half": muster.Shard(numpy.zeros(1), (0,), (2,))})
    fails(muster.wait_saved, "step 20 was not saved: ")
    assert muster.load().step == 3
    assert muster.save(4, STATE)
    assert muster.wait_saved(60) == 4


two_threads_save_and_load_in_turn()
a_child_that_is_forked_during_a_save_is_told()
a_save_within_a_save_is_refused()
small_tensors_keep_no_memory_of_a_load()
earlier_steps_come_again_after_a_load()
print("all as promised")
