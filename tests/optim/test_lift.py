"""What all rules share: trees that must match, and gradients clipped before any rule sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kjax.optim import SGD, Adam
from kjax.optim.lift import clip


def test_other_trees_are_refused():
    params, grads = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, {"w": jnp.ones((2, 3))}
    with pytest.raises(ValueError) as info:
        SGD().update(grads, SGD().init(params), params)
    assert str(info.value) == (
        "SGD: grads and params are different trees:\n"
        "  params: {'b': float32[3], 'w': float32[2, 3]}\n  grads: {'w': float32[2, 3]}"
    )
    with pytest.raises(ValueError) as info:
        SGD().update({"w": jnp.ones((3, 2)), "b": jnp.ones(3)}, SGD().init(params), params)
    assert str(info.value) == (
        "SGD: grads and params have different shapes:\n  at ['w']: params float32[2, 3], grads float32[3, 2]"
    )


def test_a_state_of_other_params_is_refused():
    params = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"opt_state.slots\['m'\] and params have different shapes"):
        Adam().update(params, Adam().init({"w": jnp.ones(3)}), params)
    with pytest.raises(ValueError, match=r"Adam keeps the slots \['m', 'v'\], but opt_state has \['velocity'\]"):
        Adam().update(params, SGD(momentum=0.9).init(params), params)


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"SGD moves floating-point arrays; params\['table'\] is int32\[2\]"):
        SGD().init({"table": jnp.arange(2)})


# Clipping.


def test_clipping_by_hand():
    def number(x):
        return None if x is None else jnp.float32(x)

    grads = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([[0.6, 0.8]]), "c": jnp.zeros(2)}
    cases = {
        (2.0, None, None): ([1.2, 1.6], [0.6, 0.8]),
        (0.5, None, None): ([0.3, 0.4], [0.3, 0.4]),
        (None, 1.0, None): ([1, 1], [0.6, 0.8]),
        (None, None, np.sqrt(26) / 2): ([1.5, 2], [0.3, 0.4]),
        (None, None, 6.0): ([3, 4], [0.6, 0.8]),
        (2.0, 1.3, None): ([1.2, 1.3], [0.6, 0.8]),
        (None, None, None): ([3, 4], [0.6, 0.8]),
    }
    for limits, (a, b) in cases.items():
        wanted = {"a": np.array(a), "b": np.array([b]), "c": np.zeros(2)}
        clipped = clip(grads, *map(number, limits))
        jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6), clipped, wanted)


@pytest.mark.parametrize("how", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_a_clipped_step(how):
    p, g = jnp.zeros(2), jnp.array([0.0, -8.0])
    optimizer = SGD(1.0, **{how: 2.0})
    assert optimizer.update(g, optimizer.init(p), p)[0].tolist() == [0.0, 2.0]
    assert optimizer.update(g / 8, optimizer.init(p), p)[0].tolist() == [0.0, 1.0]


def test_clipping_nothing_has_a_gradient():
    def length(g):
        return jnp.sum(clip([g], jnp.float32(1), None, None)[0])

    assert jax.grad(length)(jnp.zeros(2)).tolist() == [1, 1]
