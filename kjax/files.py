"""Files that are whole or not there, and folders that belong to one process at a time."""

import contextlib
import os
import pathlib
import secrets
import tempfile
import time
from collections.abc import Iterable
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no locks that a killed process is sure to give up
    fcntl = None  # type: ignore[assignment]

Bytes = bytes | memoryview


def require_writable(folder: str | os.PathLike[str], path: str | os.PathLike[str], owner: str) -> None:
    """Makes a folder, and tries to write in it.

    Raises:
        OSError: that cannot be, or `path` is a folder itself; names the owner and the path.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(error.errno, f"{owner} cannot write {path!r}: {error.strerror}", folder) from None
    if os.path.isdir(path):
        raise IsADirectoryError(f"{owner} writes files, but {path!r} is a folder: name a file in it")


def write_whole(path: str | os.PathLike[str], parts: Iterable[Bytes]) -> None:
    """Writes a file whole or not at all, and waits until it is on the disk.

    Raises:
        OSError: it cannot be written; says why, and an older file is as it was.
    """
    target = pathlib.Path(path)
    try:
        replace(target, parts)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: nothing was saved", os.fspath(target)) from error


def replace(target: pathlib.Path, parts: Iterable[Bytes]) -> None:
    """Puts a file in another's place in one step, once it is on the disk. A new file, so it has the usual rights."""
    temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: pathlib.Path) -> None:
    """Has the names in a folder on the disk too, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Lock:
    """A file that one process holds at a time. The system takes it back from a process that is killed.

    Args:
        path: the file; it is made.
        owner: who asks, for the error.
        seconds: how long to wait for another process to end.

    Nothing is locked on Windows, nor where the file system cannot.

    Raises:
        BlockingIOError: another process holds it.
    """

    def __init__(self, path: pathlib.Path, owner: str, seconds: float = 5.0):
        self.path, self._file = path, None
        until = time.monotonic() + seconds
        while not self._taken():
            if time.monotonic() > until:
                said = f"{owner}: another process, {path.read_text() or 'unknown'}, is at work in {path.parent}"
                raise BlockingIOError(f"{said}: wait for it, or give each process a folder of its own")
            time.sleep(0.05)

    def _taken(self) -> bool:
        file: Any = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as it is held
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX lets a system say EACCES of a lock that is held
            file.close()
            return False
        except OSError:
            pass  # a file system without locks
        if not (self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(file.fileno()))):
            file.close()  # the one who held it has removed it meanwhile
            return False
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return True

    def release(self) -> None:
        """Gives it up."""
        if self._file is not None:
            self._file.close()
            self._file = None
