"""The benchmark's own arithmetic, on figures made up; nothing is timed, and no peer but raw JAX is needed."""

import dataclasses
import time
import typing

import jax
import pytest

from benchmarks import accelerator, figures, instructions, measure, profile, report, results, worker
from benchmarks.client import environment
from benchmarks.peers import PEERS
from benchmarks.spec import without_dropout
from benchmarks.startup import cache
from benchmarks.workloads import WORKLOADS, find


def workload(**ms):
    peers = {peer.replace("_", "-"): {"ms": times, "bytes": 2**20 * times[0]} for peer, times in ms.items()}
    return {"peers": peers, "flops": 1e9, "peak_flops": 1e12, "rounds": 2, "date": "2026-01-02", "device": "cpu"}


def test_ratios_are_taken_round_by_round():
    found = workload(kjax=[1.0, 3.0], raw=[2.0, 2.0], torch=[2.0, 3.0])
    assert figures.best_peer(found) == "torch"
    assert figures.ratio(found, "torch") == (0.75, 0.5, 1.0)
    assert figures.share_of_peak(found, "kjax") == pytest.approx(0.5)


def test_a_missed_target_is_told_with_its_ratio():
    assert figures.missed("tiny_mlp", workload(kjax=[0.9], raw=[1.0], torch=[1.0])) == [
        "0.90 times PyTorch, wanted 0.8"
    ]
    assert figures.missed("resnet20", workload(kjax=[0.9], raw=[1.0], torch=[1.0])) == []


def test_goals_of_starting_up():
    seconds = {
        "predict": {"kjax": [9.0, 9.0], "raw": [1.0, 1.0]},
        "predict_in_turns": {"kjax": [1.0, 1.2], "raw": [1.0, 1.0]},
        "import": {"kjax": [0.9], "raw": [0.5]},
        "first_epoch_cold": {"kjax": [3.0], "torch": [2.0], "flax": [5.0]},
        "first_epoch_warm": {"kjax": [1.0], "flax": [4.0]},
    }
    goals = figures.startup_goals({name: {"seconds": s} for name, s in seconds.items()})
    assert [(goal.value.median, goal.met) for goal in goals] == [(1.1, True), (0.4, False), (0.5, True)]


class Scripted:
    """A peer whose calls are counted."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def predict(self, x):
        self.calls.append((self.name, x.shape, x.tobytes()))

    def train_on_batch(self, x, y):
        self.calls.append((self.name, x.shape, x.tobytes()))


@pytest.mark.parametrize(("order", "rows"), [("predict", 1), ("train_on_batch", 32)])
def test_two_peers_take_turns_on_the_same_arrays(monkeypatch, order, rows):
    calls = []
    monkeypatch.setattr(worker.peers, "make", lambda name, workload: Scripted(name, calls))
    found = worker.in_turns(worker.Held("kjax", WORKLOADS["tiny_mlp"]), order, "raw", calls=3)["seconds"]
    names = [name for name, *_ in calls]
    assert found.keys() == {"kjax", "raw"} and all(seconds > 0 for seconds in found.values())
    assert names[:12] == ["raw"] * 3 + ["kjax"] * 6 + ["raw"] * 3 and names.count("raw") == names.count("kjax")
    assert len({(shape, data) for _, shape, data in calls}) == 1 and calls[0][1] == (rows, 64)


def test_memory_is_compared_with_the_smallest_peer_on_jax():
    goal = figures.memory_goals({"workloads": {"a": workload(kjax=[3], raw=[1], torch=[1], flax=[2], equinox=[6])}})[
        "a"
    ]
    assert (goal.title, goal.value.median, goal.met) == (PEERS["flax"].title, 1.5, False)


def test_the_same_work_is_told_from_other_work():
    losses = {"raw": [1.0, 2.0], "kjax": [1.0, 2.001], "torch": [1.0, 2.1], "flax": "ValueError: no"}
    assert [measure.same_work(losses, peer) for peer in losses] == [True, True, False, False]


def test_rounds_begin_with_another_peer_each():
    assert [measure.rotated(["a", "b", "c"], i)[0] for i in range(4)] == ["a", "b", "c", "a"]


def test_no_cache_but_the_named_one(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "9")
    cold, warm = environment("kjax"), environment("kjax", cache("kjax", "/own"))
    assert "JAX_COMPILATION_CACHE_DIR" not in cold and cold["KJAX_COMPILATION_CACHE"] == "off"
    assert warm["JAX_COMPILATION_CACHE_DIR"] == warm["KJAX_COMPILATION_CACHE"] == "/own"
    assert warm["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"
    assert cache("keras-tf", "/own") == {}


def test_what_is_measured_anew_replaces_its_own_part():
    old = {"workloads": {"a": 1, "b": 2}, "startup": {"c": 3}}
    assert results.merged(old, {"workloads": {"b": 5}}) == {"workloads": {"a": 1, "b": 5}, "startup": {"c": 3}}


def test_a_report_says_what_was_found_and_missed(tmp_path):
    found = workload(kjax=[2.0, 2.2], raw=[4.0, 4.0], torch=[1.0, 1.0]) | {"check": {"raw": [1.0], "kjax": [2.0]}}
    kinds = {kind: i / 20 for i, kind in enumerate(profile.ALL_KINDS)}
    shares = " | ".join(f"{kinds[kind] / 2:.0%}" for kind in profile.ALL_KINDS)
    kinds = dict(sorted(kinds.items()))  # as a file keeps them
    profiles = {"tiny_mlp": {"kinds": kinds, "ms": 2.0, "top": [["m/dot.1", "matrix products", 80.0, 0.25]]}}
    profiles["resnet20"] = {"failed": "no events"}
    measured = {"workloads": {"tiny_mlp": found | {"others": [0.5], "idle": 0.0}}, "profiles": profiles}
    stamped = {part: {n: results.stamped(w) for n, w in own.items()} for part, own in measured.items()}
    report.write(tmp_path / "README.md", stamped)
    text = (tmp_path / "README.md").read_text()
    for wanted in (
        "2.10 ≠",
        "2.10 times PyTorch, wanted 0.8",
        "missed",
        shares,
        "`dot.1`",
        "80.0 runs",
        "no events",
        "50% of it",
    ):
        assert wanted in text
    assert (tmp_path / "speed.png").exists()


def test_losses_that_differ_are_marked_and_explained(tmp_path):
    losses = {"raw": [1.0], "kjax": [1.0], "torch": [2.0]}
    found = results.stamped(workload(kjax=[1.0], raw=[4.0], torch=[2.0]) | {"check": losses})
    report.write(tmp_path / "README.md", {"workloads": {"resnet20": found}})
    text = (tmp_path / "README.md").read_text()
    assert "**2.00** ≠" in text and text.count("≠ (") == 1 and "- ≠ ResNet-20, CIFAR shape, batch 32: The first" in text


def test_every_workload_counts_its_work():
    assert all(w.flops > 0 for w in WORKLOADS.values())


def test_curves_are_drawn_where_a_peer_is_missing_at_a_size(tmp_path):
    one = {"ms": [1.0, 2.0], "compile": 0.5, "bytes": 2**28}
    axis = results.stamped({"sizes": {"8": {"kjax": one, "raw": one}, "64": {"kjax": one}}})
    report.write(tmp_path / "README.md", {"scaling": {"width": axis}})
    assert "| 64 | 1.50 | – | 0.50 | – | 256 | – |" in (tmp_path / "README.md").read_text()


def test_raw_jax_and_kjax_do_the_same_work_in_both_precisions():
    for precision in accelerator.PRECISIONS:
        own = dataclasses.replace(find(f"mnist_mlp@{precision}"), batch=8, spec=without_dropout(find("mnist_mlp").spec))
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            found = {peer: worker.check(worker.Held(peer, own))["losses"] for peer in ("kjax", "raw")}
        assert measure.same_work(found, "kjax")
        assert not measure.same_work({**found, "kjax": [1.01 * loss for loss in found["kjax"]]}, "kjax")


def test_a_network_for_an_accelerator_is_the_same_with_another_batch():
    own = find("resnet20@bfloat16")
    assert (own.spec, own.precision) == (WORKLOADS["resnet20"].spec, "bfloat16")
    assert own.title == f"ResNet-20, CIFAR shape, batch {own.batch}" and own.batch > WORKLOADS["resnet20"].batch


def test_an_accelerator_has_a_table_of_its_own(tmp_path):
    found = workload(kjax=[1.0, 3.0], raw=[2.0, 2.0], torch=[2.0, 3.0]) | {"device": "NVIDIA X"}
    found["peers"]["raw"]["device_bytes"] = 5 * 2**20
    report.write(tmp_path / "README.md", {"accelerator": {"tiny_mlp@bfloat16": results.stamped(found)}})
    text = (tmp_path / "README.md").read_text()
    assert "| Tiny MLP, 64-64-32-10, batch 8192 | bfloat16 | 2.00 (1.00–3.00) |" in text
    assert "NVIDIA X" in text and "| 1.00 (0.500–1.50) | met |" in text and text.rstrip().endswith("| – | 5.00 |")
    found["peers"]["raw"]["ms"] = [1.0, 1.0]
    assert figures.misses_on_device(found) and "takes 2.000 times raw JAX" in report.device_notes(
        {"tiny_mlp@bfloat16": found}
    )


def test_why_a_call_takes_longer_than_wanted_is_said_where_it_does():
    name = figures.in_turns("predict")
    slow, quick = ({name: {"seconds": {"kjax": [ms], "raw": [1.0]}}} for ms in (1.4, 1.2))
    assert report.call_notes(slow).startswith("\n`predict`: XLA runs") and report.call_notes(quick) == ""


@pytest.mark.parametrize(
    ("told", "used"),
    [(["-1", "-1"], False), (["-1", "40"], True), (["0", "-1"], True), (["9000", "-1"], False), ([], None)],
)
def test_avx512_is_seen_in_any_thread(tmp_path, told, used):
    for number, elapsed in enumerate(told):
        (tmp_path / "self/task" / str(number)).mkdir(parents=True)
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "arch_status").write_text(f"AVX512_elapsed_ms:\t{elapsed}\n")
    assert instructions.used_avx512(tmp_path, time.monotonic() - 8) is used


class Obedient:
    """A worker that starts no process and keeps what it was told."""

    environments: typing.ClassVar[list] = []

    def __init__(self, peer, name, env=None):
        self.environments.append(environment(peer, env))

    def ask(self, order, **_):
        seen = {"seconds": 1.0, "busy": 0.0, "idle": 0.0, "flops": 1e9, "device": "cpu", "losses": [1.0], "bytes": 1}
        return {"instructions": {"avx512": False}, "versions": {}}.get(order, seen)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("level", [None, "avx2"])
def test_all_peers_are_limited_alike(monkeypatch, level):
    monkeypatch.setattr(measure, "Worker", Obedient)
    monkeypatch.setattr(measure, "PAUSE", 0)
    monkeypatch.setattr(Obedient, "environments", [])
    settings = instructions.SETTINGS.get(level)
    found = measure.workload("tiny_mlp", ["kjax", "torch"], 1, 1, True, lambda text: None, settings)
    limited = [(settings or {}).items() <= env.items() for env in Obedient.environments]
    assert limited == [True] * 4 and all("KJAX_NATIVE" in env for env in Obedient.environments) is bool(level)
    assert {peer: own.get("avx512") for peer, own in found["peers"].items()} == dict.fromkeys(
        ("raw", "kjax", "torch"), False if level else None
    )


@pytest.mark.parametrize(
    ("used", "wanted"), [(True, "in kjax.\nYNNPACK"), (False, "No thread used AVX-512."), (None, "not known here")]
)
def test_fewer_instructions_have_a_table_of_their_own(tmp_path, used, wanted):
    found = workload(kjax=[1.0, 1.1], raw=[2.0, 2.0], torch=[1.0, 1.1])
    found["peers"]["kjax"] |= {} if used is None else {"avx512": used}
    report.write(tmp_path / "README.md", {"avx2": {"tiny_mlp": results.stamped(found)}})
    text = (tmp_path / "README.md").read_text()
    assert "## With AVX2 alone" in text and wanted in text
    assert "| 1.00 (1.00–1.00) | PyTorch | 0.525 (0.500–0.550) | missed |" in text
    assert "takes 1.00 times PyTorch, wanted 0.8." in text
