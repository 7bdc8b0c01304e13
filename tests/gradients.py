"""Derivatives against differences, along a random direction, to second order, in float64."""

import jax
import jax.numpy as jnp
import numpy as np

STEP = 1e-5


def directions(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape), a.dtype), tree)


def dot(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def check_gradients(f, *args, rtol=1e-6, seed=0):
    """Reverse and forward mode to first order, forward over reverse and reverse over reverse to second.

    `f` takes float64 arrays and returns a scalar. A central difference of step 1e-5 is good to about 1e-9 here.
    """
    u, v = directions(args, seed), directions(args, seed + 1)

    def moved(t):
        return jax.tree.map(lambda a, d: a + t * d, args, u)

    def value(args):
        return f(*args)

    def slope(args):
        return dot(jax.grad(value)(args), v)

    @jax.jit
    def everything():
        ahead, behind = moved(STEP), moved(-STEP)
        return {
            "difference": (value(ahead) - value(behind)) / (2 * STEP),
            "reverse": dot(jax.grad(value)(args), u),
            "forward": jax.jvp(value, (args,), (u,))[1],
            "second difference": (slope(ahead) - slope(behind)) / (2 * STEP),
            "forward over reverse": jax.jvp(slope, (args,), (u,))[1],
            "reverse over reverse": dot(jax.grad(slope)(args), u),
        }

    got = {name: float(number) for name, number in everything().items()}
    scale = 1 + abs(float(value(args)))
    for name, wanted in {
        "reverse": "difference", "forward": "difference",
        "forward over reverse": "second difference", "reverse over reverse": "second difference",
    }.items():  # fmt: skip
        np.testing.assert_allclose(got[name], got[wanted], rtol=rtol, atol=rtol * scale, err_msg=f"{name}: {got}")
