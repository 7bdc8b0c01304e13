"""Checkpoints: whatever is put in comes out to the last bit, and nothing else ever does."""

import contextlib
import errno
import json
import os
import random
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax import checkpoints, files, nn, optim, train
from kjax.checkpoints import Checkpoints, DamagedCheckpoint
from kjax.files import Lock


def same(a, b):
    """Whether two trees are equal to the last bit, in type and dtype too."""
    leaves = jax.tree.leaves(a), jax.tree.leaves(b)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(map(equal, *leaves))


def equal(a, b):
    if not hasattr(a, "dtype"):
        return type(a) is type(b) and repr(a) == repr(b)
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return a.dtype == b.dtype and equal(jax.random.key_data(a), jax.random.key_data(b))
    alike = type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
    weak = getattr(a, "weak_type", None) == getattr(b, "weak_type", None)
    return alike and weak and np.asarray(a).tobytes() == np.asarray(b).tobytes()


NAN = np.array([0x7FC00001, 0x80000000], np.uint32).view(np.float32)  # a NaN with a message, and -0.0
TREES = {
    "numbers": {"a": 1, "b": 0.1, "c": True, "d": float("nan"), "e": -float("inf"), "f": 10**30},
    "dtypes": [jnp.ones(3, d) for d in ("float32", "bfloat16", "float16", "int8", "uint32", "bool", "complex64")],
    "small dtypes": [jnp.ones(3, "float8_e4m3fn"), np.array([1, 2], ">i4"), np.float32(0.1), np.float64(0.1)],
    "bits": (NAN, jnp.asarray(NAN)),
    "shapes": [jnp.zeros(()), jnp.zeros((0, 3)), np.zeros((2, 0)), np.ones((2, 3)).T, jnp.asarray(2.0), jnp.asarray(3)],
    "keys": [jax.random.key(3), jax.random.split(jax.random.key(4, impl="rbg"), 3), jax.random.PRNGKey(5)],
    "optimizers": (optim.Adam(optim.schedules.ExponentialDecay(0.1, 10, 0.5), weight_decay=0.1), optim.SGD({"*": 0.3})),
    "nothing": {},
    "one array": jnp.arange(2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_trees_come_back_to_the_last_bit(name, tmp_path):
    tree = TREES[name]
    checkpoints.save(tmp_path / "it", tree)
    assert same(checkpoints.load(tmp_path / "it", tree)[0], tree)


def test_what_is_told_beside_comes_back_without_a_tree_like_it(tmp_path):
    key = jax.random.key(1)
    meta = {
        "a": [1, (2.0, None), "text", {"b": [], "": ()}], "c": {"a/b": np.ones(2), "a": {"b": jnp.zeros(2)}},
        "nan": [float("nan"), float("inf")], "key": key, "scalar": np.float32(0.1), "dict": {"dict": {"tuple": 1}},
    }  # fmt: skip
    checkpoints.save(tmp_path / "it", (), **meta)
    found = checkpoints.load(tmp_path / "it", ())[1]
    assert same(found, meta) and list(found) == list(meta)


def test_equal_trees_give_equal_bytes_in_every_process(tmp_path):
    code = "import sys; from kjax import checkpoints; checkpoints.save(sys.argv[1], [1.0], a=1, b={'c': 2})"
    for name in "ab":
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_hand_written_loop_goes_on_as_if_it_had_not_been_killed(tmp_path):
    trainer = train.Trainer(nn.Serial([nn.Dense(4), nn.Dropout(0.5), nn.Dense(1)]), "mse", optim.Adam(0.1))
    x, y = np.random.default_rng(0).standard_normal((2, 6, 8, 1)).astype("float32")
    step = jax.jit(lambda optimizer, state, batch: trainer.replace(optimizer=optimizer).train_step(state, batch))

    def run(folder, until):
        state, optimizer = trainer.init(jax.random.key(0), x[0]), trainer.optimizer
        with Checkpoints(folder) as kept:
            (state, optimizer), meta = kept.load((state, optimizer)) or ((state, optimizer), {"batch": 0})
            for i in range(meta["batch"], until):
                state, _ = step(optimizer, state, (x[i], y[i]))
                optimizer = optimizer.replace(lr=optimizer.lr * 0.5)
                kept.save((state, optimizer), batch=i + 1)
        return state, optimizer

    run(tmp_path / "killed", 2)
    assert same(run(tmp_path / "killed", 6), run(tmp_path / "whole", 6))


def test_another_tree_is_refused_and_the_differences_are_listed(tmp_path):
    checkpoints.save(tmp_path / "it", {"w": jnp.zeros((3, 4)), "b": jnp.zeros(4), "lr": 0.1, "key": jax.random.key(0)})
    like = {"w": jnp.zeros((3, 5)), "c": jnp.zeros(4), "lr": jnp.zeros(()), "key": jax.random.key(0, impl="rbg")}
    with pytest.raises(ValueError, match=r"it does not fit: c is missing; b is new; ") as caught:
        checkpoints.load(tmp_path / "it", like)
    for part in ("w is float32 (3, 4), here float32 (3, 5)", "lr is a float, here float32 ()", "here a key of rbg ()"):
        assert part in str(caught.value), part


def test_what_no_file_can_hold_is_refused_by_name(tmp_path):
    for tree, meta, part in (
        ({"a": object()}, {}, "a is <object"),
        ({"a": "text"}, {}, "a is 'text'"),
        ({"a/b": 1.0, "a": {"b": 2.0}}, {}, "two leaves of the tree are called 'a/b'"),
        ({}, {"f": [print]}, "meta/f/0 is <built-in"),
        ({}, {"f": {1: 2}}, "meta/f is {1: 2}"),
        ({}, {"f": np.array([None])}, "dtype object"),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            checkpoints.save(tmp_path / "it", tree, **meta)
        assert part in str(caught.value) and not (tmp_path / "it").exists()


def test_every_bit_counts(tmp_path):
    path, rng = tmp_path / "it", random.Random(0)
    checkpoints.save(path, {"w": jnp.arange(5.0)}, epoch=3)
    data = path.read_bytes()
    places = [*rng.sample(range(8 * len(data)), 300), *range(64)]
    for place in places:
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint, match="is damaged"):
            checkpoints.read(path)
    for end in (0, 7, 8, 100, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(DamagedCheckpoint):
            checkpoints.read(path)
    path.write_bytes(data + b" ")
    with pytest.raises(DamagedCheckpoint):
        checkpoints.read(path)


def test_a_file_of_another_format_is_no_damaged_one(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    checkpoints.save(tmp_path / "it", 1.0)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="written by another kjax") as caught:
        checkpoints.read(tmp_path / "it")
    assert not isinstance(caught.value, DamagedCheckpoint)


def test_the_last_few_are_kept_and_a_damaged_one_is_passed_over(tmp_path):
    with Checkpoints(tmp_path, keep=3) as kept:
        for i in range(6):
            kept.save(float(i), step=i)
        assert [path.stem[-1] for path in kept.paths()] == ["4", "5", "6"]
        kept.paths()[-1].write_bytes(b"")
        with pytest.warns(UserWarning, match=r"00000006\S* is damaged and was set aside; .* checkpoint-00000005"):
            assert kept.load(0.0) == (4.0, {"step": 4})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert kept.load(0.0) == (4.0, {"step": 4})
        kept.save(9.0, step=9)
        assert kept.load(0.0) == (9.0, {"step": 9}) and len(kept.paths()) == 3
        for path in kept.paths():
            path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DamagedCheckpoint, match=r"all checkpoints are damaged: .* to start afresh"):
            kept.load(0.0)
        assert len(kept.paths()) == 3  # nothing was thrown away
        kept.delete()
    assert not tmp_path.exists()


def test_none_is_deleted_before_there_are_too_many(tmp_path):
    with Checkpoints(tmp_path, keep=6) as kept:
        for i in range(1, 9):
            kept.save(float(i))
            assert [int(path.stem[-1]) for path in kept.paths()] == list(range(max(1, i - 5), i + 1))


def test_a_disk_that_cannot_read_a_file_any_more_is_like_a_damaged_one(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as kept:
        kept.save(1.0)
        kept.save(2.0)
        original = checkpoints.read

        def failing(code):
            def read(path):
                if path.stem.endswith("2"):
                    raise OSError(code, os.strerror(code), str(path))
                return original(path)

            return read

        monkeypatch.setattr(checkpoints, "read", failing(errno.EMFILE))
        with pytest.raises(OSError, match="open files"):
            kept.load(0.0)
        monkeypatch.setattr(checkpoints, "read", failing(errno.EIO))
        with pytest.warns(UserWarning, match="set aside"):
            assert kept.load(0.0) == (1.0, {})


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    with Checkpoints(tmp_path) as kept:
        kept.save(1.0)
    (tmp_path / ".checkpoint-00000002.safetensors.0123").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    with Checkpoints(tmp_path) as kept:
        assert kept.load(0.0)[0] == 1.0
        assert sorted(os.listdir(tmp_path)) == [".lock", "checkpoint-00000001.safetensors", "notes.txt"]
        kept.delete()
    assert os.listdir(tmp_path) == ["notes.txt"]


class Full:
    """A disk that is full after so many bytes."""

    def __init__(self, monkeypatch, left):
        self.left = left
        original = os.fsync

        def fsync(handle):
            if os.fstat(handle).st_size > self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(handle)

        monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=1) as kept:
        kept.save(jnp.zeros(3), step=1)
        Full(monkeypatch, left=100)
        with pytest.raises(OSError, match="No space left on device: nothing was saved") as caught:
            kept.save(jnp.ones(3), step=2)
        assert caught.value.errno == errno.ENOSPC and len(os.listdir(tmp_path)) == 2
        assert kept.load(jnp.zeros(3))[1] == {"step": 1}


HOLD = """
import pathlib, runpy, sys, time
lock = runpy.run_path(sys.argv[1])["Lock"](pathlib.Path(sys.argv[2], ".lock"), "other")
print("held", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def another_process(folder):
    """A process that is at work in a folder; to be killed. It imports no more than the lock."""
    command = [sys.executable, "-c", HOLD, files.__file__, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_a_folder_belongs_to_one_process_until_that_ends_or_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(Lock.__init__, "__defaults__", (0.1,))
    with another_process(tmp_path) as other:
        with pytest.raises(BlockingIOError, match=rf"another process, {other.pid}, is at work in .*folder of its own"):
            Checkpoints(tmp_path)
        other.kill()
        other.wait()
        with Checkpoints(tmp_path) as kept:
            kept.save(1.0)
            kept.delete()
    assert not tmp_path.exists()


@pytest.mark.skipif(files.fcntl is None, reason="nothing is locked there")
@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EACCES], ids=errno.errorcode.get)
def test_both_errors_that_posix_knows_for_a_held_lock_mean_one(code, tmp_path, monkeypatch):
    def held(file, kind):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "lockf", held)
    with pytest.raises(BlockingIOError, match="at work in"):
        Lock(tmp_path / ".lock", "other", seconds=0.0)


def test_where_nothing_can_be_written_it_says_so_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Checkpoints cannot write"):
        Checkpoints(tmp_path / "file" / "run")
    with pytest.raises(ValueError, match="Checkpoints: keep must be an integer of at least 1; got 0"):
        Checkpoints(tmp_path / "run", keep=0)


def test_there_is_json_and_no_code_in_a_file(tmp_path):
    checkpoints.save(tmp_path / "it", {"w": jnp.zeros(2)}, note="hello")
    head = (tmp_path / "it").read_bytes()[8:]
    told = json.loads(head[: head.rindex(b"}") + 1])["__metadata__"]
    assert json.loads(told["checkpoint"])["meta"] == {"dict": {"note": "hello"}}
