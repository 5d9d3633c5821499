"""Work spread over processes."""

import os
import signal

import cv2
import pytest

from utils.errors import DataError
from utils.runs.parallel import in_parallel


def square(number):
    return os.getpid(), number**2


def surroundings(_):
    return os.environ["OMP_NUM_THREADS"], cv2.getNumThreads(), signal.getsignal(signal.SIGINT)


def fail(number):
    raise ValueError(f"{number} is wrong")


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_everything_is_done_once(jobs):
    results = list(in_parallel(square, range(5), jobs))
    assert sorted(result for _, result in results) == [0, 1, 4, 9, 16]
    assert (os.getpid() in {process for process, _ in results}) == (jobs == 1)


def test_nothing_to_do():
    assert list(in_parallel(square, [], 2)) == []


def test_processes_have_one_thread_and_leave_interrupts_to_their_parent(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = signal.getsignal(signal.SIGINT)
    assert set(in_parallel(surroundings, range(2), 2)) == {("1", 1, signal.SIG_IGN)}
    assert "OMP_NUM_THREADS" not in os.environ
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_through(jobs):
    with pytest.raises(ValueError, match=r"\d is wrong"):
        list(in_parallel(fail, range(3), jobs))


def test_a_killed_process_is_named():
    with pytest.raises(DataError, match="--jobs 1"):
        list(in_parallel(die, range(2), 2))
