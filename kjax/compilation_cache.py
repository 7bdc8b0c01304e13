"""Compiled programs in a folder, so that the next process that trains the same network compiles nothing.

JAX names a program by a hash of all that decides it: the program, the versions, the compiler's settings. JAX's own
folder of them leaves half a file behind where a process is killed or a disk is full, never repairs it, and is
bounded only with a package more. `Programs` takes its place: no file is half written, a damaged one counts as
missing, the least recently used go first, and nothing that happens to the folder stops a training.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pathlib
import platform
import re
import tempfile
import time
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from kjax.datasets.cache import user_cache

SETTING = "KJAX_COMPILATION_CACHE"
"""The environment variable: a folder, or "off"."""
OFF, ON = ("off", "0", "false", "no", "none"), ("", "on", "1", "true", "yes")
LIMIT = 2**30
"""The bytes that a folder may hold; a program of a small network takes 10 to 300 kB."""
SPARED = 0.8
"""The share of them that is left when it was more."""
SUFFIX, DIGEST = ".program", 16
TEMPORARY = ".kjax-", ".tmp"
"""How the names of files that are being written begin and end: whatever else is in the folder is somebody else's."""
ABANDONED = 3600.0
"""Seconds after which a temporary file belongs to no living process."""

log = logging.getLogger("kjax")


class Programs:
    """Compiled programs as files in a folder, for JAX to `get` and `put`; neither ever raises.

    Args:
        folder: where they lie.
        limit: the bytes they may take.
        named: whether the user chose the folder, and so is told when it cannot be written.
    """

    def __init__(self, folder: pathlib.Path, limit: int = LIMIT, named: bool = True):
        self.folder = self._path = folder  # JAX's log reads `_path`
        self.limit, self.named, self.closed = limit, named, False
        self.set_for_jax = False
        self._left: float = 0  # bytes to write until the folder is looked through

    def get(self, key: str) -> bytes | None:
        """The program, or None where there is none that is whole."""
        if self.set_for_jax and setting("jax_compilation_cache_dir") != str(self.folder):
            jax_cache.reset_cache()  # the user has chosen another folder since: JAX turns to it now
            return None
        path = self.file(key)
        try:
            content = path.read_bytes()
            if digest(content[:-DIGEST]) != content[-DIGEST:]:
                path.unlink()
                return None
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used last now
        return content[:-DIGEST]

    def put(self, key: str, value: bytes) -> None:
        """Keeps a program, if the folder takes it; after a failure nothing is tried again."""
        if self.closed or len(value) > self.limit:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # programs of others are not to be run
            self._make_room(len(value) + DIGEST)
            write(self.file(key), value + digest(value))
        except OSError as error:
            self.closed = True
            level = logging.WARNING if self.named else logging.INFO
            log.log(level, "compiled programs are not kept (%s): set %s to another folder or to off", error, SETTING)

    def file(self, key: str) -> pathlib.Path:
        """The file of a program, which also depends on the processor: its code is of no use to another."""
        name = re.sub(r"\W", "_", key.split("-")[0])[:60]
        return self.folder / f"{name}-{digest(f'{key} {processor()}'.encode()).hex()}{SUFFIX}"

    def _make_room(self, size: int) -> None:
        """Looks through the folder now and then, for other processes write to it too."""
        self._left -= size
        if self._left < 0:
            free = self.limit - prune(self.folder, self.limit - size)
            self._left = min(free, self.limit / 16) - size


def digest(content: bytes) -> bytes:
    """Tells damaged bytes from whole ones."""
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes the file whole or not at all; of two processes that do it at once, either's file is right."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY[0], suffix=TEMPORARY[1])
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def is_temporary(name: str) -> bool:
    """Whether `write` gives such names to files that are not whole yet."""
    return name.startswith(TEMPORARY[0]) and name.endswith(TEMPORARY[1])


def prune(folder: pathlib.Path, limit: int) -> int:
    """Deletes the programs used longest ago where there are more than `limit` bytes; the bytes that are left."""
    found, total = [], 0
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):  # deleted by another process meanwhile
            about = entry.stat()
            if entry.name.endswith(SUFFIX):
                found.append((about.st_mtime, about.st_size, entry.path))
                total += about.st_size
            elif is_temporary(entry.name) and time.time() - about.st_mtime > ABANDONED:
                os.unlink(entry.path)
    goal = limit if total <= limit else SPARED * limit
    for _, size, path in sorted(found):
        if total <= goal:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
            total -= size
    return total


@functools.cache
def processor() -> str:
    """What this machine's processor is and can do."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = (line.strip() for line in file)
        about = next((line for line in lines if line.startswith(("flags", "Features"))), "")
        return f"{platform.machine()} {about}"
    return f"{platform.machine()} {platform.processor()}"


def setting(name: str) -> Any:
    """What JAX is set to."""
    return getattr(jax.config, name)


class Decided:
    """Whether it is decided where programs are kept: by the user, or with the first model."""

    yet = False


def switch_on() -> None:
    """Keeps compiled programs, unless the user said otherwise; called before kjax compiles for the first time.

    A folder that was set for JAX stays in use, and so does a cache that was switched off there.
    """
    if Decided.yet:
        return
    Decided.yet = True
    chosen = setting("jax_compilation_cache_dir") is not None
    if not chosen and setting("jax_enable_compilation_cache"):
        with contextlib.suppress(RuntimeError):  # no home folder
            use(os.environ.get(SETTING))


def use(choice: Any = None) -> pathlib.Path | None:
    """Keeps compiled programs in a folder from now on; None is the user's cache folder, "off" no folder at all."""
    Decided.yet = True
    given = str(choice or "")
    if given.lower() in OFF:
        return _set(None)
    named = given.lower() not in ON
    folder = pathlib.Path(given).expanduser().absolute() if named else user_cache() / "kjax" / "compiled"
    return _set(Programs(folder, named=named))


def _set(programs: Programs | None) -> pathlib.Path | None:
    folder = programs.folder if programs else None
    _give_to_jax(programs)
    jax.config.update("jax_compilation_cache_dir", str(folder) if folder else None)
    if programs:
        programs.set_for_jax = True
        if setting("jax_persistent_cache_min_compile_time_secs") == 1.0:  # the default, which keeps no small ones
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


def _give_to_jax(programs: Programs | None) -> None:
    """Has JAX look for programs there; where a JAX to come has no such place, it makes files of its own."""
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src import compilation_cache as engine

        original = getattr(engine.get_file_cache, "original", engine.get_file_cache)

        def get_file_cache(path: str) -> Any:
            return (programs, path) if programs and path == str(programs.folder) else original(path)

        get_file_cache.original = original  # type: ignore[attr-defined]
        engine.get_file_cache = get_file_cache
    jax_cache.reset_cache()  # it may already be at work, elsewhere
