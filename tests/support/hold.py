"""Holds one thread of a server still, from outside: to the others its loop
looks as if it had been stuck, or starved by the machine, for as long.

    home = thread_of(server, lambda: ask(peer, burn=0.3))
    with held(home):
        ...                     # it runs nothing

By ptrace(2), so the test and the server must be of one user, and the system
must permit it; else the tests that need it are skipped. All within one `with`
is done by the thread that entered it.
"""
import contextlib
import ctypes
import errno
import os
import pathlib

import pytest

_SEIZE, _INTERRUPT, _CONT, _DETACH = 0x4206, 0x4207, 7, 17
_EVENT_STOP = 128
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                         ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, tid, data=0):
    if _libc.ptrace(request, tid, None, data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, "ptrace: " + os.strerror(code))


def _wait_until_held(tid):
    while True:
        _, status = os.waitpid(tid, _WALL)
        assert os.WIFSTOPPED(status), "thread %d has ended" % tid
        if status >> 16 == _EVENT_STOP:
            return
        _ptrace(_CONT, tid, os.WSTOPSIG(status))    # a signal, on its way


def _let_go(tid):
    try:
        _ptrace(_DETACH, tid)
    except ProcessLookupError:
        # The process has ended, and its end waits for us to take note.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(tid, _WALL)


@contextlib.contextmanager
def held(tid):
    """The thread stands still within."""
    try:
        _ptrace(_SEIZE, tid)
    except OSError as e:
        if e.errno in (errno.EPERM, errno.ENOSYS):
            pytest.skip("no thread can be held here: %s" % e)
        raise
    try:
        _ptrace(_INTERRUPT, tid)
        _wait_until_held(tid)
        yield
    finally:
        _let_go(tid)


def _cpu_times(pid):
    """-> {tid: ticks on a processor}"""
    times = {}
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        with contextlib.suppress(OSError):      # it has ended
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            times[int(task.name)] = int(fields[11]) + int(fields[12])
    return times


def thread_of(server, work):
    """-> the id of the thread that is busy while work() lasts; on an idle
    server that is the one whose loop does it."""
    before = _cpu_times(server.pid)
    work()
    after = _cpu_times(server.pid)
    used = {tid: after[tid] - before.get(tid, 0) for tid in after}
    best = max(used, key=used.get)
    rest = sum(used.values()) - used[best]
    assert used[best] > 4 * rest, used
    return best
