"""The test configuration: strict dtypes and ranks, so that nothing is promoted silently."""

import contextlib
import gc
import itertools
import os
import shutil
import signal
import tempfile
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("KJAX_FULL_TRACEBACK", "1")

import jax
import pytest

from kjax import compilation_cache

# Nearly all of the time goes into compiling small programs that run once. XLA's newer way to make code of fused
# operations takes twice as long as the one before; JAX 0.11 has no other, and ends at a flag that it does not know.
# Parts that are compiled side by side are no gain where the processors are busy with other tests.
FLAGS = ["--xla_backend_optimization_level=0"]
if (0, 10) <= jax.__version_info__ < (0, 11):
    FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))

# All processes of a run share what they compile, in a folder of its own: a run must not depend on the one before.
SHARED = None if "KJAX_COMPILATION_CACHE" in os.environ else tempfile.mkdtemp(prefix="kjax-tests-")
compilation_cache.use(os.environ.setdefault("KJAX_COMPILATION_CACHE", SHARED or "off"))

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore Ctrl-C
gc.freeze()  # modules stay, so that nothing is gained by looking through them, again and again
gc.set_threshold(50_000, 20, 100)


@contextlib.contextmanager
def keras_allowed():
    """Keras relies on implicit promotion, and warns about its own calls: inside this block it may."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def compiling():
    """Nothing comes from the folder that the run shares."""
    compilation_cache.use("off")
    yield
    compilation_cache.use(os.environ["KJAX_COMPILATION_CACHE"])


LONG = "test_exact", "test_notebooks"


def pytest_collection_modifyitems(config, items):
    """The longest go first, so that no process is left with one at the end; tests of bits to tests/test_exact.py."""
    items.sort(key=lambda item: item.module.__name__ not in LONG)
    if "KJAX_TESTS_EXACT" not in os.environ:
        exact = [item for item in items if item.get_closest_marker("exact")]
        items[:] = [item for item in items if item not in exact]
        config.hook.pytest_deselected(items=exact)


FINISHED = itertools.count(1)


def pytest_runtest_teardown():
    """Drops what was compiled, now and then: a process would keep gigabytes of programs that nobody calls again."""
    if next(FINISHED) % 180 == 0:
        jax.clear_caches()


def pytest_unconfigure():
    if SHARED:
        shutil.rmtree(SHARED, ignore_errors=True)
