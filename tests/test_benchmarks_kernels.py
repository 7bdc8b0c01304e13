"""The benchmark of kernels and of kept pages: its arithmetic and its report; nothing that is timed is asserted."""

import jax
import numpy as np
import pytest

import kjax
from benchmarks import kernel_timing, kernels, pages, report, results, worker
from benchmarks.kernel_cases import cases
from kjax import native


class Obedient:
    """A worker that starts no process; the one that keeps pages needs half the time and twice the memory."""

    def __init__(self, peer, name, env):
        self.kept = bool(env)

    def ask(self, order, **_):
        seconds = 0.5 if self.kept else 1.0
        epoch = {"seconds": seconds, "busy": 0.0, "idle": 0.0}
        answers = {"train_on_batch": {"seconds": [seconds]}, "memory": {"bytes": 2**20 * (20 if self.kept else 10)}}
        return answers.get(order, epoch)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_kept_pages_are_reported_beside_those_that_are_not(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "Worker", Obedient)
    monkeypatch.setattr(pages, "PAUSE", 0)
    monkeypatch.setattr("benchmarks.measure.PAUSE", 0)
    found = pages.workload("mnist_cnn", 2, 10, lambda text: None)
    assert found["kept"] == {"fit": [50.0] * 2, "single": [500.0] * 2, "bytes": 20 * 2**20}
    report.write(tmp_path / "README.md", {"pages": {"mnist_cnn": results.stamped({"kinds": found})}})
    text = (tmp_path / "README.md").read_text()
    assert "## Kept pages" in text and "| as it is | 100 (100–100) | – | 1000 (1000–1000) | – | 10.0 |" in text
    assert "| kept | 50.0 (50.0–50.0) | 0.500 (0.500–0.500) | 500 (500–500) | 0.500 (0.500–0.500) | 20.0 |" in text


@pytest.mark.parametrize(("kind", "wanted"), [("as it is", 0), ("kept", 1)])
def test_a_worker_keeps_pages_if_it_is_told(monkeypatch, kind, wanted):
    done = []
    monkeypatch.setattr(kjax.utils, "keep_pages", lambda: done.append(True))
    for name, value in pages.KINDS[kind].items():
        monkeypatch.setenv(name, value)
    worker.keep_pages_if_told()
    assert len(done) == wanted


def told(title, ours, theirs, by="C"):
    return {"family": "Products", "title": title, "by": by, "ours": ours, "theirs": theirs}


def test_what_is_slower_than_xla_is_named(tmp_path):
    lines = [told("a", [1.0, 1.0], [2.0, 4.0]), told("b", [3.0], [2.0]), told("c", [0.9, 1.2, 1.1], [1.0] * 3)]
    lines.append(told("d", [2.0], [1.0], "XLA"))
    found = kernels.gathered(lines, lambda text: None)
    stamped = {family: results.stamped({"cases": own}) for family, own in found.items()}
    report.write(tmp_path / "README.md", {"kernels": stamped})
    text = (tmp_path / "README.md").read_text()
    assert "| a | C | 1000 (1000–1000) | 3000 (2000–4000) | 0.375 (0.250–0.500) |" in text
    assert "3 cases with a kernel" in text and "at a median ratio of 1.10. 2 are above 1, 1 of them in every" in text
    assert "- Products, b: 1.50 (1.50–1.50)\n- Products, c: 1.10 (0.900–1.20)\n\nIntegers, one" in text
    assert "- Products, d" not in text


@pytest.fixture
def lenient():
    """The plain sides promote, as programs do."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_cases_have_names_of_their_own(lenient):
    names = [(case.family, case.title) for case in cases()]
    assert len(set(names)) == len(names) > 100


SMALL = ("32×64 by 64×32: gradient of the kernel", "a bias's gradient, 32×10", "rows, 128 of 3072, integers")


@pytest.mark.parametrize("title", SMALL)
def test_both_sides_of_a_case_compute_the_same_and_are_timed(monkeypatch, lenient, title):
    monkeypatch.setattr(kernel_timing, "ROUNDS", 2)
    monkeypatch.setattr(kernel_timing, "LENGTH", 0)
    case = next(case for case in cases() if case.title == title)
    got, wanted = jax.jit(lambda *x: (case.ours(*x), case.theirs(*x)))(*case.drawn())
    np.testing.assert_allclose(*map(jax.tree.leaves, (got, wanted)), rtol=1e-5, atol=1e-6)
    _, ours, theirs, by = kernel_timing.compiled(case)
    assert all(len(found) == 2 and min(found) > 0 for found in kernel_timing.timed(ours, theirs))
    assert by == ("C" if native.library() and "rows" in title else by)
