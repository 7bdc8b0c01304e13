"""Products of matrices in any order of axes against NumPy's in float64, and their derivatives, by both lowerings."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

import kjax
from kjax.nn.kernels import product, products, tensordot

# name: equation, left operand, right operand, whether the kernel takes it
CASES = {
    "dense": ("bti,io->bto", (2, 5, 19), (19, 37), True),
    "dense, by x": ("bto,io->bti", (2, 5, 37), (19, 37), True),
    "dense, by the kernel": ("bti,bto->io", (2, 9, 19), (2, 9, 37), True),
    "into heads": ("btf,fhd->bthd", (2, 5, 9), (9, 3, 8), True),
    "out of heads": ("bthd,hdf->btf", (2, 5, 3, 8), (3, 8, 9), True),
    "scores": ("bthd,bshd->bhts", (2, 5, 3, 33), (2, 18, 3, 33), True),
    "means": ("bhts,bshd->bthd", (2, 3, 5, 18), (2, 18, 3, 33), True),
    "means, by values": ("bhts,bthd->bshd", (2, 3, 18, 5), (2, 18, 3, 33), True),
    "grouped scores": ("btgrd,bsgd->bgrts", (2, 6, 2, 3, 8), (2, 7, 2, 8), True),
    "exchanged": ("io,bi->bo", (19, 37), (21, 19), True),
    "rows in two places": ("ti,kio->tko", (3, 4), (5, 4, 6), True),
    "sums over two axes": ("tik,iko->to", (3, 4, 5), (4, 5, 6), True),
    "sums over axes in another order": ("tki,iko->to", (3, 4, 5), (5, 4, 6), False),
    "rows alone": ("bi,i->b", (7, 5), (5,), True),
    "a row": ("bi,io->bo", (1, 19), (19, 3 * 64 + 37), True),
    "a short row": ("bi,io->bo", (1, 19), (19, 5), True),
    "a row in steps": ("bit,io->bot", (1, 19, 1), (19, 37), True),
    "a row, by x": ("bo,io->bi", (1, 37), (19, 37), True),
    "a long row": ("bi,io->bo", (1, 300), (300, 70), True),
    "a single number": ("bi,io->bo", (1, 19), (19, 1), False),
    "no axis in common": ("i,o->io", (7,), (5,), False),
    "empty": ("bi,io->bo", (0, 5), (5, 3), False),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(products, "pays", lambda found: True)


def operands(shapes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_true(got, equation, a, b):
    wanted = np.einsum(equation, a.astype(float), b.astype(float))
    size = np.einsum(equation, abs(a), abs(b)).max(initial=0)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-7 * size)


@each_case
def test_products_are_numpys(small, case):
    equation, *shapes, taken = case
    a, b = operands(shapes)
    run = jax.jit(lambda *x: product(equation, *x))
    assert ("kjax_product" in run.lower(a, b).as_text()) == taken
    assert_true(run(a, b), equation, a, b)
    assert_true(products.anywhere(a, b, equation=equation), equation, a, b)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_shape_and_order(data):
    """Among the sizes are those around the edges of a tile, of a panel, and of what is packed at a time."""
    size = st.sampled_from([1, 2, 3, 13, 14, 15, 16, 17, 29, 31, 32, 33, 47, 65])
    sizes = dict(zip("zmnk", (data.draw(st.integers(1, 3)), data.draw(size), data.draw(size), 0), strict=True))
    sizes["k"] = data.draw(st.sampled_from([1, 5, 16, 31, 256, 257, 530]))
    left, right, out = (data.draw(st.permutations(place)) for place in ("zmk", "zkn", "zmn"))
    equation = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    a, b = operands([[sizes[c] for c in place] for place in (left, right)])
    found = products.layout(equation, a.shape, b.shape)
    if found:
        run = jax.jit(lambda a, b: products.one_cpu(a, b, equation=equation, precision=None, found=found))
        assert_true(run(a, b), equation, a, b)


@pytest.mark.parametrize("name", ["dense", "grouped scores", "exchanged"])
def test_derivatives(name):
    equation, *shapes, _ = CASES[name]

    def square(a, b):  # the primitive itself, which takes any dtype: its rules are what is tested
        return (products.product_p.bind(a, b, equation=equation, precision=None) ** 2).sum()

    with jax.enable_x64(True):
        check_gradients(square, *operands(shapes, np.float64))


@pytest.mark.parametrize("name", ["dense", "into heads", "scores", "means"])
def test_gradients_are_products_by_the_kernel(small, name):
    equation, *shapes, _ = CASES[name]
    a, b = operands(shapes)
    run = jax.jit(jax.grad(lambda a, b: (product(equation, a, b) ** 2).sum() / 2, (0, 1)))
    assert run.lower(a, b).as_text().count("@kjax_product") == 3
    left, right, out = products.places(equation)
    y = np.einsum(equation, a, b, dtype=float)
    by_a, by_b = run(a, b)
    np.testing.assert_allclose(by_a, np.einsum(f"{out},{right}->{left}", y, b), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(by_b, np.einsum(f"{left},{out}->{right}", a, y), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("axes", "taken"), [((1, None), True), ((None, 1), True), ((None, 2), False), ((2, 0), True)])
def test_vmap_adds_an_axis(small, axes, taken):
    a, b = operands([(5, 19), (19, 37)])
    several = [x if axis is None else np.stack([x, 2 * x, -x], axis) for x, axis in zip((a, b), axes, strict=True)]
    run = jax.jit(jax.vmap(jax.vmap(lambda a, b: product("bi,io->bo", a, b), axes), (None, 0), 1))
    stacked = np.stack([several[1], several[1] + 1])
    assert ("kjax_product" in run.lower(several[0], stacked).as_text()) == taken
    each = jax.vmap(jnp.matmul, axes)
    wanted = jnp.stack([each(several[0], x) for x in stacked], 1)
    np.testing.assert_allclose(run(several[0], stacked), wanted, rtol=1e-5, atol=1e-4)


def test_tensordot_sums_over_several_axes():
    x, kernel = operands([(2, 3, 4, 5), (4, 5, 6, 7)])
    np.testing.assert_allclose(tensordot(x, kernel, 2), np.tensordot(x, kernel, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "a", "b", "taken"),
    [
        ("bi,io->bo", (256, 64), (64, 64), True),
        ("bi,io->bo", (1, 64), (64, 64), True),
        ("bi,io->bo", (2, 64), (64, 64), False),
        ("bi,io->bo", (1, 784), (784, 512), False),
        ("bo,io->bi", (1, 64), (64, 64), False),
        ("bi,io->bo", (128, 512), (512, 512), False),
        ("bi,io->bo", (512, 512), (512, 10), False),
        ("bi,bo->io", (128, 512), (128, 10), True),
        ("bi,bo->io", (8, 512), (8, 512), False),
        ("zmk,zkn->zmn", (64, 32, 32), (64, 32, 32), True),
        ("zmk,zkn->zmn", (8, 32, 32), (8, 32, 32), False),
    ],
)
def test_the_kernel_takes_what_it_is_faster_at(equation, a, b, taken):
    a, b = jnp.ones(a), jnp.ones(b)
    text = jax.jit(lambda *x: product(equation, *x)).lower(a, b).as_text()
    assert ("kjax_product" in text) == taken
    text = jax.jit(lambda *x: product(equation, *x)).lower(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)).as_text()
    assert "kjax_product" not in text


def test_a_row_of_a_small_network_is_so_little_work_for_xla_that_no_other_thread_does_it():
    net = kjax.nn.Serial([kjax.nn.Dense(64, "relu"), kjax.nn.Dense(32, "relu"), kjax.nn.Dense(10)])
    x = jnp.ones((1, 64))
    params, state = net.init(jax.random.key(0), x)
    run = jax.jit(lambda params, x: net.apply(params, state, x)[0])
    assert run.lower(params, x).compile().cost_analysis()["flops"] < 1000


def test_a_gradient_is_the_kernels_where_the_product_is_not():
    x, kernel = jnp.ones((128, 512)), jnp.ones((512, 256))
    text = jax.jit(jax.grad(lambda x, kernel: tensordot(x, kernel).sum(), (0, 1))).lower(x, kernel).as_text()
    assert text.count("@kjax_product") == 1


def test_sums_of_small_types_are_as_wide_as_asked():
    a, b = jnp.ones((4, 300), jnp.bfloat16), jnp.ones((300, 4), jnp.bfloat16)
    y = product("ik,ko->io", a, b, jnp.float32)
    assert y.dtype == jnp.float32 and y[0, 0] == 300
    assert product("ik,ko->io", a, b).dtype == jnp.bfloat16


def test_precision_is_that_of_the_caller():
    a = jnp.ones((256, 256))
    with jax.default_matmul_precision("highest"):
        jaxpr = jax.make_jaxpr(jax.grad(lambda a: tensordot(a, a).sum()))(a)
    assert {eqn.params["precision"] for eqn in jaxpr.eqns if eqn.primitive is products.product_p} == {"highest"}


def test_in_shard_map_products_are_jaxs_own():
    mesh = jax.make_mesh((1,), ("d",))
    one = jax.P("d")

    def total(a, b):
        return jax.lax.psum(tensordot(a, b).sum(), "d")

    run = jax.shard_map(total, mesh=mesh, in_specs=(one, jax.P()), out_specs=jax.P())
    a = jax.device_put(jnp.ones((256, 256)), jax.NamedSharding(mesh, one))
    b = jax.device_put(a, jax.NamedSharding(mesh, jax.P()))
    assert jax.jit(jax.grad(run, 1))(a, b)[0, 0] == 256


LESSER = """
import jax, numpy as np
from kjax import native
from kjax.nn.kernels import product
rng = np.random.default_rng(0)
a, b = rng.standard_normal((6, 61, 45)).astype("f"), rng.standard_normal((6, 333, 45)).astype("f")
for left, right in [("mk", "nk"), ("km", "nk"), ("mk", "kn")]:
    x, y = a if left == "mk" else a.swapaxes(1, 2), b if right == "nk" else b.swapaxes(1, 2)
    equation = f"z{left},z{right}->zmn"
    run = jax.jit(lambda *given: product(equation, *given))
    assert "x86_64_v3" in run.lower(x, y).as_text() or "x86_64_v3" not in native._levels()
    np.testing.assert_allclose(run(x, y), np.einsum(equation, x, y), rtol=1e-4, atol=1e-4)
"""


def test_kernels_of_lesser_processors():
    environment = os.environ | {"KJAX_NATIVE": "x86_64_v3"}
    subprocess.run([sys.executable, "-c", LESSER], env=environment, check=True)


def test_empty_products_are_zeros():
    x, kernel = jnp.ones((0, 128, 64)), jnp.ones((64, 128))
    assert products.chosen("bti,bto->io", (1, 128, 64), (1, 128, 128)) and not products.chosen(
        "bti,bto->io", (0, 128, 64), (0, 128, 128)
    )
    grad = jax.grad(lambda kernel: product("bti,io->bto", x, kernel).sum())(kernel)
    np.testing.assert_array_equal(grad, np.zeros((64, 128)))


def test_sizes_known_to_the_caller_alone_are_exported():
    x = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 64"), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: product("bi,io->bo", x, jnp.ones((64, 512)))))(x)
    assert exported.call(jnp.ones((3, 64))).shape == (3, 512)
