"""The test configuration: strict dtypes and ranks, so that nothing is promoted silently."""

import contextlib
import itertools
import os
import signal
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("KJAX_FULL_TRACEBACK", "1")
os.environ.setdefault("KJAX_COMPILATION_CACHE", "off")  # a run must not depend on the one before
# Nearly all of the time goes into compiling small programs that run once.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore Ctrl-C


@contextlib.contextmanager
def keras_allowed():
    """Keras relies on implicit promotion, and warns about its own calls: inside this block it may."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FINISHED = itertools.count(1)


def pytest_runtest_teardown():
    """Drops what was compiled, now and then: a process would keep gigabytes of programs that nobody calls again."""
    if next(FINISHED) % 60 == 0:
        jax.clear_caches()
