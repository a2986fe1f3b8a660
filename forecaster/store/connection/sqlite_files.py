"""Detect SQLite files that were deleted or replaced, or are on a network file system.

In WAL mode SQLite keeps writing to a file that was deleted or replaced, and that data is lost; it
also needs shared memory, which network file systems do not provide.
"""

import os
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL, Engine, event

from forecaster.errors import DatabaseUnavailable, UnsupportedDatabase
from forecaster.store.connection.urls import masked

MOUNTS = Path("/proc/self/mountinfo")
"""Mount points of Linux."""

_NETWORK = {
    "9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3",
    "smbfs",
}  # fmt: skip


class _Identity(NamedTuple):
    device: int
    inode: int


def require_local(url: URL) -> None:
    """Raise UnsupportedDatabase when the file is known to be on a network file system."""
    kind = _filesystem_of(Path(url.database or "").absolute())
    if kind in _NETWORK:
        raise UnsupportedDatabase(
            f"{masked(url)} is on a network file system ({kind}), which SQLite does not support",
            hint="move it to a local disk, or set database_url = 'postgresql://…'",
        )


def require_same_file(engine: Engine) -> None:
    """Let `engine` connect and begin only while the file that it first opened has its name.

    DatabaseUnavailable otherwise, before anything is written anywhere.
    """
    path = Path(engine.url.database or "")
    opened: list[_Identity] = []

    def require(*_: object) -> None:
        current = _identity(path)
        if opened and current != opened[0]:
            what = "deleted" if current is None else "replaced by another file"
            raise DatabaseUnavailable(
                f"{masked(engine.url)} was {what} while in use",
                hint="restore the original file; or stop, restore a backup without the old -wal "
                "and -shm files, and start again",
            )

    def remember(*_: object) -> None:
        current = _identity(path)
        if not opened and current is not None:
            opened.append(current)

    event.listen(engine, "do_connect", require)  # which would make a new file
    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", require)


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return _Identity(status.st_dev, status.st_ino)


def _filesystem_of(path: Path) -> str | None:
    """Return the type of the file system of `path`; None if unknown."""
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return None
    resolved = Path(os.path.realpath(path))
    types: dict[Path, str] = {}
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mounted = fields.split()[4].encode().decode("unicode_escape")  # a space is written \040
        types[Path(mounted)] = rest.split()[0]
    return next(
        (types[folder] for folder in (resolved, *resolved.parents) if folder in types), None
    )
