"""Derivatives against differences, along a random direction, to second order, in float64."""

import jax
import jax.numpy as jnp
import numpy as np

STEP = 1e-5


def directions(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: np.asarray(rng.standard_normal(a.shape), a.dtype), tree)


def dot(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def check_gradients(f, *args, rtol=1e-6, seed=0):
    """Reverse and forward mode to first order, forward over reverse and reverse over reverse to second.

    `f` takes float64 arrays and returns a scalar. A central difference of step 1e-5 is good to about 1e-9 here.
    """
    args = jax.tree.map(np.asarray, args)  # so that moving them compiles nothing
    u, v = directions(args, seed), directions(args, seed + 1)

    def value(args):
        return f(*args)

    def slope(args):
        return dot(jax.grad(value)(args), v)

    def first(args):
        return value(args), slope(args)

    def derivatives(args, u):
        return {
            "reverse": dot(jax.grad(value)(args), u),
            "forward": jax.jvp(value, (args,), (u,))[1],
            "forward over reverse": jax.jvp(slope, (args,), (u,))[1],
            "reverse over reverse": dot(jax.grad(slope)(args), u),
        }

    run = jax.jit(first)  # compiled once, called at three places
    (level, _), *sides = (run(jax.tree.map(lambda a, d, t=t: a + t * d, args, u)) for t in (0, STEP, -STEP))
    difference, second = ((float(ahead) - float(behind)) / (2 * STEP) for ahead, behind in zip(*sides, strict=True))
    got = {name: float(number) for name, number in jax.jit(derivatives)(args, u).items()}
    got |= {"difference": difference, "second difference": second}
    scale = 1 + abs(float(level))
    for name, wanted in {
        "reverse": "difference", "forward": "difference",
        "forward over reverse": "second difference", "reverse over reverse": "second difference",
    }.items():  # fmt: skip
        np.testing.assert_allclose(got[name], got[wanted], rtol=rtol, atol=rtol * scale, err_msg=f"{name}: {got}")
