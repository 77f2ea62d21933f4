"""The mark of an attempt's processes, which no daemon loses by what daemons do.

A number of the attempt's own is the soft limit RLIMIT_LOCKS of its first process. The kernel hands limits on to every
child and over every exec, whatever becomes of session, environment, folder and files; has not looked at this one since
Linux 2.4; and shows it for one call. It follows from the name of the attempt's folder, so a later dispatcher knows it
too. A process takes it off only by setting that very limit.

It can be set only when the program runs, and a quick one has a daemon by then. So this process wears a second number,
the attempt's *draft*, while it starts the program, which inherits it. What has the mark is the attempt's for certain.
What has the draft came of it in its first instants, or was started by another thread of this process just then: see
`drafted`.
"""

import resource
import threading

_RLIMIT_LOCKS = 10
_FIRST = 1 << 60
"""Marks are above what anybody would set, and within what Python can."""
_DRAFT = 1 << 61

_starting = threading.Lock()
"""This process has one such limit, whatever number of executors."""


def mark_of(folder: str) -> int:
    """The mark for the attempt in `folder`: of its execution, which ends the name, 60 random bits; else 0."""
    execution = folder.rpartition("-")[2]
    try:
        return _FIRST | int(execution[-15:], 16) if len(execution) == 32 else 0
    except ValueError:  # no attempt's folder
        return 0


def bears(pid: int, mark: int) -> bool:
    """Whether a process has this mark; 0 is none."""
    return bool(mark) and _worn(pid) == mark


def drafted(pid: int, session: int, mark: int, leader: int, own_session: int) -> bool:
    """Whether a process came of the attempt's `leader` before the mark, and was not started by the dispatcher for
    something else. `session` is the process's, `own_session` the dispatcher's; 0 for what is not known.

    What another thread started while the draft was worn has a lower number than the leader, or the dispatcher's
    session, or is not among the children of its first thread, unless its own has ended. Not told apart are a program
    that got a session of its own in the some 50 µs after the leader's birth, and a daemon of one that was started then.
    """
    return bool(mark) and pid > leader and session != own_session and _worn(pid) == mark | _DRAFT


class WearingDraft:
    """What is started in this context has the draft of `mark`; 0 is none. Waits while another thread starts one."""

    def __init__(self, mark: int) -> None:
        self._mark = mark
        self._before: tuple[int, int] | None = None

    def __enter__(self) -> None:
        _starting.acquire()
        if self._mark:
            self._before = _wear(0, (self._mark | _DRAFT, resource.RLIM_INFINITY))

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            _wear(0, self._before)
        _starting.release()


def put(pid: int, mark: int) -> None:
    """Marks a child that was started just now; 0 is none."""
    if mark:
        _wear(pid, (mark, resource.RLIM_INFINITY))


def _wear(pid: int, limits: tuple[int, int]) -> tuple[int, int] | None:
    """Sets the limits of a process, and returns those before; None if it cannot be."""
    try:
        return resource.prlimit(pid, _RLIMIT_LOCKS, limits)
    except OSError:  # gone; another user's (of a set-user-id program); or a system that does not let us: then unmarked
        return None


def _worn(pid: int) -> int:
    try:
        return resource.prlimit(pid, _RLIMIT_LOCKS)[0]
    except OSError:  # gone, or another user's
        return 0
