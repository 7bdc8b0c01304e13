"""Checkpoints: any tree of arrays and numbers in one file, to the last bit, for loops that are to survive a kill.

    with Checkpoints("run") as kept:
        state, meta = kept.load(state) or (state, {"batch": 0})
        for i in range(meta["batch"], len(batches)):
            state, logs = step(state, batches[i])
            if i % 100 == 99:
                kept.save(state, batch=i + 1)

A state and an optimizer whose rate changes are a tree too: `(state, optimizer)`. `fit` does the same by itself with
`kjax.callbacks.BackupAndRestore`.

A file is a safetensors file with a checksum over all of it. It is written beside the others, flushed to the disk, and
renamed: at any moment the last one is whole. There is no pickle and no code in it.
"""

import errno
import hashlib
import json
import os
import pathlib
import re
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from kjax.files import Bytes, Lock, require_writable, write_whole
from kjax.frozen import require_int
from kjax.packing import Packer, Unpacker, describe, is_array, placed
from kjax.weights import halves, parsed, serialized

FORMAT = 1
BLANK = b'"blake2b":"' + b"0" * 64 + b'"'
"""Where the checksum of a file stands, as it is while that is computed."""
SEALED = re.compile(rb'"blake2b":"[0-9a-f]{64}"')


class DamagedCheckpoint(ValueError):
    """A file that is not what was written."""


def save(path: str | os.PathLike[str], tree: Any, **meta: Any) -> None:
    """Writes a tree to a file, whole or not at all, and waits until it is on the disk.

    Args:
        path: the file.
        tree: a pytree of arrays, keys and numbers: a `TrainState`, an optimizer, a tuple of both.
        meta: what else is to be known: numbers, texts, arrays, None, and lists, tuples and dicts of them.

    Raises:
        OSError: the file cannot be written; an older one is as it was.
        TypeError: something is none of these.

    >>> import jax.numpy as jnp, os, tempfile
    >>> from kjax import optim
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "there")
    ...     save(path, {"w": jnp.arange(3.0), "by": optim.Adam(0.5)}, epoch=7)
    ...     tree, meta = load(path, {"w": jnp.zeros(3), "by": optim.Adam()})
    >>> tree["w"].tolist(), tree["by"], meta
    ([0.0, 1.0, 2.0], Adam(lr=0.5), {'epoch': 7})
    """
    packer = Packer()
    leaves = {name: packer.pack(leaf, name or "tree") for name, leaf in named(tree).items()}
    header = {"format": FORMAT, "leaves": leaves, "meta": packer.pack(meta, "meta")}
    write_whole(path, sealed(packer.arrays, json.dumps(header, separators=(",", ":"))))


def load(path: str | os.PathLike[str], like: Any) -> tuple[Any, dict[str, Any]]:
    """The tree that `save` wrote, and what it was told beside.

    Args:
        path: the file.
        like: a tree of the same structure, shapes and dtypes, as the program begins with; its numbers do not matter.
            Arrays come back where its own are.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedCheckpoint: it is not as it was written.
        ValueError: the tree is another one; lists what differs.
    """
    found = read(path)
    return found.tree(like), found.meta


class Checkpoint(NamedTuple):
    """What a file holds."""

    path: pathlib.Path
    meta: dict[str, Any]
    leaves: dict[str, Any]
    unpacker: Unpacker

    def tree(self, like: Any) -> Any:
        """The tree, of the same structure as `like`; see `load`."""
        wanted = named(like)
        wrong = [f"{name} is missing" for name in wanted if name not in self.leaves]
        wrong += [f"{name} is new" for name in self.leaves if name not in wanted]
        for name, leaf in wanted.items():
            kept = self._described(name)
            if name in self.leaves and kept != describe(leaf):
                wrong.append(f"{name} is {kept}, here {describe(leaf)}")
        if wrong:
            raise ValueError(f"{self.path} does not fit: {'; '.join(wrong)}")
        return jax.tree.unflatten(jax.tree.structure(like), [self._leaf(n, leaf) for n, leaf in wanted.items()])

    def _leaf(self, name: str, like: Any) -> Any:
        data = self.leaves[name]
        if isinstance(data, dict) and data.get("kind") == "jax":
            return placed(self.unpacker.array(data), data, like)
        return self.unpacker.unpack(data)

    def _described(self, name: str) -> str:
        data = self.leaves.get(name)
        if not isinstance(data, dict) or "array" not in data:
            return describe(self.unpacker.unpack(data))
        spec = self.unpacker.array(data)
        return describe(jax.eval_shape(wrapped(data["key"]), spec) if "key" in data else spec)


def wrapped(impl: str) -> Any:
    """A function that makes keys of their data."""
    return lambda data: jax.random.wrap_key_data(data, impl=impl)


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path, `params/dense/kernel`."""
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name in found:
            raise ValueError(f"two leaves of the tree are called {name!r}: no key of a dict may hold a slash")
        if not (is_array(leaf) or isinstance(leaf, bool | int | float | jax.ShapeDtypeStruct)):
            raise TypeError(f"{name or 'the tree'} is {leaf!r:.80}: a tree of arrays, keys and numbers can be kept")
        found[name] = leaf
    return found


def sealed(arrays: dict[str, np.ndarray], header: str) -> list[Bytes]:
    """The parts of a file that says what its own checksum is."""
    head, body = serialized(arrays, checkpoint=header, blake2b="0" * 64)
    return [head.replace(BLANK, b'"blake2b":"%s"' % digest(head, body), 1), body]


def digest(head: bytes, body: Bytes) -> bytes:
    """The checksum of a file whose header has none yet: BLAKE2b, 32 bytes."""
    found = hashlib.blake2b(head, digest_size=32)
    found.update(body)
    return found.hexdigest().encode()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """A file, checked; `load` without a tree to compare it with."""
    data = pathlib.Path(path).read_bytes()
    head, body = halves(data)
    seal = SEALED.search(head)
    blank = head if seal is None else head.replace(seal[0], BLANK, 1)
    if seal is None or seal[0] != b'"blake2b":"%s"' % digest(blank, body):
        raise DamagedCheckpoint(f"{os.fspath(path)} is damaged: it is not what was written ({len(data)} bytes)")
    arrays, metadata = parsed(data, path, "checkpoint")
    header = json.loads(metadata.get("checkpoint", "{}"))
    if header.get("format") != FORMAT:
        raise ValueError(f"{os.fspath(path)} was written by another kjax, {metadata.get('kjax')}: use that one")
    unpacker = Unpacker(arrays)
    return Checkpoint(pathlib.Path(path), unpacker.unpack(header["meta"]), header["leaves"], unpacker)


class Checkpoints:
    """The last few checkpoints of a run, in a folder of its own that one process at a time has.

    Args:
        folder: it is made.
        keep: how many are kept.
        owner: what errors call it.

    To be used in a `with`, or closed at the end.

    Raises:
        OSError: nothing can be written there.
        BlockingIOError: another process is at work there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(folder, keep=2) as kept:
    ...     nothing = kept.load(0.0)
    ...     for i in range(5):
    ...         kept.save(i / 2, step=i)
    ...     nothing, kept.load(0.0), len(kept.paths())
    (None, (2.0, {'step': 4}), 2)
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2, owner: str = "Checkpoints"):
        require_int(keep, "keep", owner)
        self.folder, self.keep, self.owner = pathlib.Path(folder), int(keep), owner
        require_writable(self.folder, self.folder / "checkpoint", owner)
        self._lock = Lock(self.folder / ".lock", owner)
        for stale in self.folder.glob(".checkpoint-*"):
            stale.unlink()  # what a killed process had not finished

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Lets another process have the folder."""
        self._lock.release()

    def paths(self) -> list[pathlib.Path]:
        """The checkpoints, the oldest first."""
        return sorted(self.folder.glob("checkpoint-????????.safetensors"))

    def save(self, tree: Any, **meta: Any) -> None:
        """Adds one, and deletes the oldest where there are too many; see `save`."""
        before = self.paths()
        number = 1 + (int(before[-1].stem.rpartition("-")[2]) if before else 0)
        save(self.folder / f"checkpoint-{number:08d}.safetensors", tree, **meta)
        for old in before[: max(0, len(before) + 1 - self.keep)]:
            old.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest one that is whole; None where there is none at all.

        One that is damaged is renamed, and a warning says so.

        Raises:
            DamagedCheckpoint: all are.
        """
        damaged: list[pathlib.Path] = []
        for path in reversed(self.paths()):
            found = whole(path)
            if isinstance(found, Checkpoint):
                self._set_aside(damaged, path)
                return found
            damaged.append(path)
        if damaged:
            names = ", ".join(map(str, damaged))
            raise DamagedCheckpoint(
                f"{self.owner}: all checkpoints are damaged: {names}. Put one of them right, or delete {self.folder} "
                "to start afresh"
            )
        return None

    def load(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest one's tree and meta; see `load`, and `newest`."""
        found = self.newest()
        return None if found is None else (found.tree(like), found.meta)

    def _set_aside(self, damaged: list[pathlib.Path], older: pathlib.Path) -> None:
        for path in damaged:
            path.rename(path.with_suffix(".damaged"))
            said = f"{self.owner}: {path} is damaged and was set aside; going on from the one before it, {older.name}"
            warnings.warn(said, stacklevel=2)

    def delete(self) -> None:
        """Deletes all checkpoints, and the folder if nothing else is in it."""
        for path in self.folder.glob("checkpoint-????????.*"):
            path.unlink(missing_ok=True)
        (self.folder / ".lock").unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def whole(path: pathlib.Path) -> Checkpoint | OSError | DamagedCheckpoint:
    """A checkpoint, or why there is none."""
    try:
        return read(path)
    except DamagedCheckpoint as error:
        return error
    except OSError as error:
        if error.errno != errno.EIO:  # the disk cannot read it any more
            raise
        return error
