"""The kernels in C: found, chosen where they belong and only there, and the same for any number of threads."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax import native
from kjax.native import build
from kjax.nn.kernels.conv import conv

X, KERNEL = jnp.ones((2, 12, 12, 32)), jnp.ones((3, 3, 32, 32))


def calls(program):
    return "kjax_" in program


@pytest.fixture
def forgotten():
    """Looks for the library anew, and again after the test."""
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def test_library_is_there_and_from_these_sources():
    assert build.targets() and native.library().kjax_sources().decode() == build.sources()


def test_programs_for_one_cpu_call_kernels():
    assert calls(jax.jit(conv).lower(X, KERNEL).as_text())
    # A new function: a jitted one remembers what it was lowered to.
    assert not calls(jax.jit(lambda *a: conv(*a)).lower(X.astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16)).as_text())


def test_exported_programs_run_anywhere():
    exported = jax.export.export(jax.jit(lambda *a: conv(*a)))(X, KERNEL)
    assert not calls(exported.mlir_module())
    np.testing.assert_allclose(exported.call(X, KERNEL), conv(X, KERNEL), rtol=1e-6)


def run(program, **environment):
    """What a program prints, in a process of its own."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_programs_for_several_devices_keep_to_xla():
    out = run(
        """
import jax, jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from kjax.nn.kernels.conv import conv
rows = NamedSharding(Mesh(jax.devices(), "d"), PartitionSpec("d"))
x, kernel = jax.device_put(jnp.ones((4, 12, 12, 32)), rows), jnp.ones((3, 3, 32, 32))
print("kjax_" in jax.jit(conv).lower(x, kernel).as_text(), float(conv(x, kernel)[0, 0, 0, 0]))
""",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert out.split() == ["False", "288.0"]


DIGESTS = """
import hashlib, json
import jax, numpy as np
from kjax.nn.kernels import attend
from kjax.nn.kernels.conv import conv
rng = np.random.default_rng(0)
x, kernel, g = (rng.standard_normal(s).astype("f") for s in [(6, 13, 13, 24), (3, 3, 24, 40), (6, 13, 13, 40)])
y, back = jax.vjp(lambda x, kernel: conv(x, kernel, padding="same"), x, kernel)
arrays = [y, *back(g)]
query = rng.standard_normal((3, 70, 4, 32)).astype("f")
y, back = jax.vjp(lambda query: attend(query, query, query, causal=True)[0], query)
arrays += [y, *back(query)]
print(json.dumps([[hashlib.sha256(np.asarray(a)).hexdigest() for a in arrays], [float(abs(a).sum()) for a in arrays]]))
"""


def test_numbers_do_not_depend_on_threads_and_without_kernels_stay_near():
    bits, sums = json.loads(run(DIGESTS))
    assert json.loads(run("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})" + DIGESTS))[0] == bits
    plain_bits, plain_sums = json.loads(run(DIGESTS, KJAX_NATIVE="off"))
    assert plain_bits != bits
    np.testing.assert_allclose(plain_sums, sums, rtol=1e-5)


@pytest.mark.skipif(not native.LEVELS.keys() <= set(build.targets()), reason="one library there")
def test_each_level_gives_the_same_numbers_up_to_rounding():
    sums = [json.loads(run(DIGESTS, KJAX_NATIVE=level))[1] for level in native._found_levels()]
    for other in sums[1:]:
        np.testing.assert_allclose(other, sums[0], rtol=1e-5)


ALONE = """
import jax, numpy as np
from kjax.nn.kernels.lstm import lstm
rng = np.random.default_rng(0)
plus, kernel, h, c = (rng.standard_normal(s).astype("f") for s in [(3, 37, 72), (18, 72), (37, 18), (37, 18)])
few = slice(30, 33)
run = jax.jit(lambda plus, h, c: lstm(plus, kernel, h, c, None, False)[0])
print(np.array_equal(run(plus, h, c)[:, few], run(plus[:, few], h[few], c[few])))
"""


@pytest.mark.skipif(not native.LEVELS.keys() <= set(build.targets()), reason="one library there")
def test_rows_of_a_batch_are_the_same_alone_at_each_level():
    assert [run(ALONE, KJAX_NATIVE=level).strip() for level in native._found_levels()[1:]] in (["True"], [])


@pytest.mark.usefixtures("forgotten")
def test_library_of_other_sources_is_refused(monkeypatch):
    monkeypatch.setattr(native, "sources", lambda: "0" * 16)
    with pytest.warns(RuntimeWarning, match=r"kernels_.*was compiled from other sources .*install kjax again"):
        assert native.library() is None


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("how", ["off", "missing", "damaged"])
def test_no_library_is_no_error(monkeypatch, tmp_path, how):
    if how == "off":
        monkeypatch.setenv("KJAX_NATIVE", "off")
    else:
        monkeypatch.setattr(native, "FOLDER", tmp_path)
    if how == "damaged":
        for level in native._levels():
            native._path(level).write_bytes(b"no library")
    assert native.library() is None
    assert not calls(jax.jit(lambda *a: conv(*a)).lower(X, KERNEL).as_text())


def test_processors_get_what_they_can_run(monkeypatch):
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    for flags, levels in [
        (set().union(*native.LEVELS.values()), ["x86_64_v4", "x86_64_v3"]),
        (native.LEVELS["x86_64_v3"], ["x86_64_v3"]),
        ({"sse2"}, []),
    ]:
        monkeypatch.setattr(native, "_processor_flags", lambda flags=flags: flags)
        assert native._levels() == levels
    monkeypatch.setattr(native.platform, "machine", lambda: "arm64")
    assert native._levels() == ["arm64"]


def test_installing_goes_on_without_a_compiler(monkeypatch, tmp_path, capsys):
    root = pathlib.Path(__file__).parents[1]
    monkeypatch.chdir(root)
    hook = runpy.run_path("hatch_build.py")["Kernels"](str(root), {}, None, None, str(tmp_path), "wheel")

    def fail():
        raise FileNotFoundError("no compiler")

    monkeypatch.setitem(hook.initialize.__globals__["KERNELS"], "build", fail)
    build_data = {"artifacts": []}
    hook.initialize("standard", build_data)
    assert build_data == {"artifacts": []}
    assert "could not be compiled; XLA's own are used, slower: no compiler" in capsys.readouterr().err


def test_other_systems_ask_for_no_compiler(monkeypatch):
    monkeypatch.setattr(build.sys, "platform", "sunos5")
    assert build.targets() == {} and build.build() == []


@pytest.mark.usefixtures("forgotten")
def test_a_misspelt_setting_is_named(monkeypatch):
    monkeypatch.setenv("KJAX_NATIVE", "x86_64-v3")
    with pytest.warns(UserWarning, match=r"KJAX_NATIVE is 'x86_64-v3': it is off, on, or one of x86_64_v4, x86_64_v3"):
        assert native.library() is not None
