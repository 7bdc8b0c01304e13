"""Compiled programs in a folder: the second process compiles nothing, and no trouble with the folder stops it."""

import errno
import json
import logging
import os
import re
import subprocess
import sys

import jax
import pytest

from kjax import compilation_cache
from kjax.compilation_cache import Decided, Programs, prune, switch_on, use, write
from kjax.utils import cache_compilations

PROGRAM = """
import json, resource, sys
import jax, kjax, numpy as np
from kjax.layers import BatchNormalization, Dense, Dropout
assert jax.config.jax_compilation_cache_dir is None  # an import changes nothing
counts = dict.fromkeys(("cache_hits", "cache_misses"), 0)
def count(event, **options):
    name = event.rsplit("/", 1)[1]
    if name in counts:
        counts[name] += 1
jax.monitoring.register_event_listener(count)
if "full" in sys.argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
x, y = np.ones((70, 8), "float32"), np.zeros((70, 3), "float32")
model = kjax.Sequential([Dense(4, input_shape=(8,)), BatchNormalization(), Dropout(0.5), Dense(3)])
model.compile("adam", "mse", metrics=["accuracy"])
history = model.fit(x, y, epochs=2, verbose=0, validation_split=0.2).history
model.train_on_batch(x, y), model.predict(x)
cached = [one.cached for one in model.compile_report()]
print(json.dumps({**counts, "cached": all(cached), "compiled": not any(cached), "history": history}))
"""


def started(cache, *arguments):
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)} | {"KJAX_COMPILATION_CACHE": ""}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process):
    output, errors = process.communicate()
    assert process.returncode == 0 and errors == "", errors
    return json.loads(output)


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder is found as on Linux, and a limit set")
def test_the_second_process_compiles_nothing_and_no_trouble_stops_the_third(tmp_path):
    both = [started(tmp_path), started(tmp_path)]  # at once, into one folder
    first, beside = map(result, both)
    assert first["cache_misses"] + beside["cache_misses"] > 5 and first["history"] == beside["history"]
    files = list((tmp_path / "kjax" / "compiled").iterdir())
    assert len(files) > 5 and all(f.suffix == ".program" for f in files)  # and no temporary ones
    second = result(started(tmp_path))
    assert second["cache_misses"] == 0 and second["cached"] and second["history"] == first["history"]
    for i, file in enumerate(files):
        file.write_bytes(file.read_bytes()[: [0, 100, -1][i % 3]])
    third = result(started(tmp_path, "full"))  # damaged programs, and no room for whole ones
    assert third["cache_hits"] == 0 and third["compiled"] and third["history"] == first["history"]
    assert list((tmp_path / "kjax" / "compiled").iterdir()) == []


@pytest.fixture
def settings(monkeypatch):
    """JAX's settings as they were, and kjax's as in a new process."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_enable_compilation_cache")
    before, shared = {name: getattr(jax.config, name) for name in names}, os.environ["KJAX_COMPILATION_CACHE"]
    use("off")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    monkeypatch.setattr(Decided, "yet", False)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    use(shared)


def folder():
    return jax.config.jax_compilation_cache_dir


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        (None, "cache/kjax/compiled"), ("", "cache/kjax/compiled"), ("on", "cache/kjax/compiled"), ("off", None),
        ("OFF", None), ("0", None), ("here", "here"), ("~/there", "home/there"),
    ],
)  # fmt: skip
def test_one_setting_moves_it_or_turns_it_off(setting, wanted, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KJAX_COMPILATION_CACHE", raising=False)
    if setting is not None:
        monkeypatch.setenv("KJAX_COMPILATION_CACHE", setting)
    switch_on()
    assert folder() == (None if wanted is None else str(tmp_path / wanted))
    assert not list(tmp_path.iterdir())  # nothing is made before there is something to keep


def test_what_was_set_for_jax_stays(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("KJAX_COMPILATION_CACHE", str(tmp_path / "ours"))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    switch_on()
    assert folder() == str(tmp_path / "theirs") and jax.config.jax_persistent_cache_min_compile_time_secs == 1.0
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    monkeypatch.setattr(Decided, "yet", False)
    switch_on()
    assert folder() is None
    cache_compilations(tmp_path / "explicit")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    assert cache_compilations(tmp_path / "again") == tmp_path / "again"
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.5


@pytest.mark.parametrize("choice", ["off", "here"])
def test_what_was_chosen_before_the_first_model_stays(choice, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KJAX_COMPILATION_CACHE", str(tmp_path / "environment"))
    chosen = cache_compilations(choice)
    switch_on()
    assert folder() == (None if choice == "off" else str(chosen)) and chosen == use(choice)


def test_without_a_home_there_is_no_cache(settings, monkeypatch):
    monkeypatch.delenv("KJAX_COMPILATION_CACHE")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation_cache, "user_cache", homeless)
    switch_on()
    assert folder() is None


def test_the_folder_is_moved_while_it_is_in_use(settings, tmp_path):
    for name in ("one", "two"):
        cache_compilations(tmp_path / name)
        jax.jit(lambda x, name=name: x + len(name) * 0.125)(1.0)
        assert [f.name[:12] for f in (tmp_path / name).iterdir()] == ["jit__lambda-"]
    assert cache_compilations("off") is None and folder() is None
    jax.jit(lambda x: x + 0.375)(1.0)
    assert len(list((tmp_path / "two").iterdir())) == 1


def test_a_folder_set_for_jax_later_holds_jaxs_files(settings, tmp_path):
    cache_compilations(tmp_path / "ours")
    jax.jit(lambda x: x + 0.625)(1.0)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    jax.jit(lambda x: x + 0.6875)(1.0)
    assert [len(list((tmp_path / name).iterdir())) for name in ("ours", "theirs")] == [1, 1]


KEY = "jit_step-0123"


@pytest.mark.parametrize(
    "damage",
    [lambda b: b"", lambda b: b[:5], lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:40] + b"x" + b[41:]],
    ids=["empty", "a piece", "cut", "longer", "flipped"],
)
def test_a_damaged_program_counts_as_missing_and_is_replaced(damage, tmp_path):
    programs = Programs(tmp_path)
    programs.put(KEY, bytes(100))
    assert programs.get(KEY) == bytes(100) and programs.get("jit_step-4567") is None
    file = programs.file(KEY)
    file.write_bytes(damage(file.read_bytes()))
    assert programs.get(KEY) is None and not file.exists()
    programs.put(KEY, bytes(100))
    assert Programs(tmp_path).get(KEY) == bytes(100)


def test_a_program_is_for_one_kind_of_processor(tmp_path, monkeypatch):
    programs = Programs(tmp_path)
    programs.put(KEY, b"code")
    monkeypatch.setattr(compilation_cache, "processor", lambda: "another")
    assert programs.get(KEY) is None


def test_the_least_recently_used_go_first(tmp_path):
    programs = Programs(tmp_path, limit=1000)
    for i in range(9):
        programs.put(f"f-{i}", bytes(84))  # 100 with its digest
        os.utime(programs.file(f"f-{i}"), (i, i))
    assert programs.get("f-0") == bytes(84)  # now it is the last used
    Programs(tmp_path, limit=1000).put("f-9", bytes(184))
    kept = [i for i in range(10) if programs.get(f"f-{i}")]
    assert kept == [0, 4, 5, 6, 7, 8, 9]  # four fifths of what there is room for, and the new one
    programs.put("f-10", bytes(1001))
    assert programs.get("f-10") is None and len(list(tmp_path.iterdir())) == len(kept)


def test_a_folder_never_holds_more_than_the_limit(tmp_path):
    two = [Programs(tmp_path, limit=16_000) for _ in range(2)]
    for i in range(60):
        two[i % 2].put(f"f-{i}", bytes(984))
        assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 17_000  # another process's last sixteenth
    assert two[0].get("f-59") and len(list(tmp_path.iterdir())) > 9


def test_pruning_deletes_what_a_killed_process_left_and_nothing_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: None)  # killed before this
    write(tmp_path / "old.program", b"half")
    (abandoned,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".bashrc", "notes.txt", ".kjax-notes", ".notes.tmp")]
    for file in (abandoned, *others):
        file.write_bytes(b"text")
        os.utime(file, (0, 0))
    write(tmp_path / "new.program", b"half")  # in use
    assert prune(tmp_path, 0) == 0
    left = {f.name for f in tmp_path.iterdir()}
    assert abandoned.name not in left and left > {f.name for f in others} and len(left) == len(others) + 1


def test_nothing_is_half_written(tmp_path, monkeypatch):
    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("trouble", ["no folder", "full"])
def test_where_nothing_can_be_kept_it_is_said_once_or_not_at_all(trouble, named, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "folder"
    if trouble == "no folder":
        folder.write_text("a file")
    else:
        monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    programs = Programs(folder, named=named)
    with caplog.at_level(logging.WARNING, "kjax"):
        for i in range(3):
            programs.put(f"f-{i}", b"code")
            assert programs.get(f"f-{i}") is None
    said = [re.search("compiled programs are not kept .*KJAX_COMPILATION_CACHE", m) for m in caplog.messages]
    assert len(said) == named and all(said)
