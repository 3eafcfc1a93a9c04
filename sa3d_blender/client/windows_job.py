"""Windows: a job object that ends the engine, and whatever it has started, when our process ends. Elsewhere: nothing.

Winbase: CreateJobObject, SetInformationJobObject with JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, AssignProcessToJobObject. The
system closes the handle when our process ends, in whatever way.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys

__all__ = ["kill_with_us", "release"]

_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMITS = 9


class _Basic(ctypes.Structure):
    _fields_ = (
        ("per_process_time", ctypes.c_int64),
        ("per_job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority", ctypes.c_uint32),
        ("scheduling", ctypes.c_uint32),
    )


class _Extended(ctypes.Structure):
    _fields_ = (
        ("basic", _Basic),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )


def kill_with_us(process: subprocess.Popen[bytes]) -> object:
    """Ties a process to ours. Returns a handle to be kept; None where there is no such thing or it isn't granted."""
    if sys.platform != "win32":
        return None
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    job = kernel.CreateJobObjectW(None, None)
    if not job:
        return None
    limits = _Extended()
    limits.basic.flags = _KILL_ON_JOB_CLOSE
    set_limits = kernel.SetInformationJobObject
    set_limits.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
    assign = kernel.AssignProcessToJobObject
    assign.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    handle = int(process._handle)  # type: ignore[attr-defined]
    if not set_limits(job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)) or not assign(job, handle):
        release(job)
        return None
    return job


def release(job: object) -> None:
    """Closes a handle of ``kill_with_us``; what is still in the job ends."""
    if sys.platform == "win32" and job:
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
        kernel.CloseHandle(job)
