"""Who holds a lease: a name that no other process start has, and whether its process is gone."""

import os
import secrets
from pathlib import Path

_PROC = Path("/proc")
_UNKNOWN = "0"


def new_holder() -> str:
    """Return a name for this process: boot, pid namespace, pid, start time and a random part."""
    return "-".join([*_place(), str(os.getpid()), _started("self"), secrets.token_hex(4)])


def is_gone(holder: str) -> bool:
    """Return whether the process of `holder` has ended; False for one on another machine."""
    *place, pid, started, _ = holder.split("-") if holder.count("-") == 4 else [""] * 5
    if place != _place() or _UNKNOWN in (*place, started):
        return False
    return _started(pid) != started


def _place() -> list[str]:
    """Return what makes a pid unique: the boot of the machine, and the namespace."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().replace("-", "")[:12]
        return [boot, str((_PROC / "self/ns/pid").stat().st_ino)]
    except OSError:
        return [_UNKNOWN, _UNKNOWN]


def _started(pid: str) -> str:
    """Return when a process started, in clock ticks since the boot; 0 where there is none."""
    try:
        stat = (_PROC / pid / "stat").read_text()
    except OSError:
        return _UNKNOWN
    state, *rest = stat.rpartition(")")[2].split()
    return _UNKNOWN if state in "ZX" else rest[18]
