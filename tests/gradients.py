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


def check_gradients(f, *args, rtol=1e-6, seed=0, order=2, every_mode=False):
    """Reverse and forward mode to first order, forward over reverse and reverse over reverse to second (`order`).

    `every_mode` adds both modes over forward mode, which is how `jax.test_util.check_grads` has it.

    `f` takes float64 arrays and returns a scalar. A central difference of step 1e-5 is good to about 1e-9 here.
    """
    args = jax.tree.map(np.asarray, args)  # so that moving them compiles nothing
    u, v = directions(args, seed), directions(args, seed + 1)

    def value(args):
        return f(*args)

    def slope(args):
        return dot(jax.grad(value)(args), v)

    def pushed(args):
        return jax.jvp(value, (args,), (v,))[1]

    @jax.jit
    def run(args):
        level, forward = jax.jvp(value, (args,), (u,))
        grads, moved = jax.jvp(jax.grad(value), (args,), (u,)) if order == 2 else (jax.grad(value)(args), None)
        found = {"forward": forward, "reverse": dot(grads, u)}
        if order == 2:
            found |= {"forward over reverse": dot(moved, v), "reverse over reverse": dot(jax.grad(slope)(args), u)}
        if every_mode:
            found["forward over forward"] = jax.jvp(pushed, (args,), (u,))[1]
            found["reverse over forward"] = dot(jax.grad(pushed)(args), u)
        return (level, dot(grads, v)), found

    # One program at three places: compiling it is what takes the time.
    (level, _), got = run(args)
    sides = (run(jax.tree.map(lambda a, d, t=t: a + t * d, args, u))[0] for t in (STEP, -STEP))
    difference, second = ((float(ahead) - float(behind)) / (2 * STEP) for ahead, behind in zip(*sides, strict=True))
    got = {name: float(number) for name, number in got.items()}
    wanted = {name: second if "over" in name else difference for name in got}
    scale = 1 + abs(float(level))
    for name, number in got.items():
        told = f"{name}: {got}, differences {difference} and {second}"
        np.testing.assert_allclose(number, wanted[name], rtol=rtol, atol=rtol * scale, err_msg=told)
