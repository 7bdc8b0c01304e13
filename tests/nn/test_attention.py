"""Attention: masks and options against Keras, numbers against PyTorch's in float64, what encodings of position mean."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from case import randomised
from conftest import keras_allowed
from hypothesis import given, settings
from hypothesis import strategies as st

from kjax import Model, nn
from kjax.nn.kernels import attend
from kjax.nn.mask import unmask
from kjax.weights import look_up, weight_paths

RECORDED = np.load(pathlib.Path(__file__).parents[1] / "recorded" / "attention.npz", allow_pickle=False)
RNG = np.random.default_rng(0)
QUERY, VALUE, KEY = (RNG.standard_normal(shape).astype("float32") for shape in [(2, 4, 6), (2, 5, 6), (2, 5, 6)])
OF_QUERY = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
OF_VALUE, OF_KEY = (
    np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 1]], bool),
    np.array([[0, 1, 1, 1, 1], [1, 1, 1, 0, 1]], bool),
)
PAIRS = RNG.random((2, 4, 5)) < 0.5


def recorded(prefix, tree):
    """What was recorded under the names of these nested dicts."""
    return {
        name: recorded(f"{prefix}/{name}", own) if isinstance(own, dict) else jnp.asarray(RECORDED[f"{prefix}/{name}"])
        for name, own in tree.items()
    }


def slopes(y):
    return (jnp.cos(jnp.arange(1, y.size + 1)).reshape(y.shape) * y).sum()


def matches(got, wanted):
    # 1e-12: sums of some ten products, in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got, wanted)


@pytest.mark.parametrize("case", ["scaled_dot_product", "causal"])
def test_weighted_means_and_their_gradients_match_pytorch(case):
    with jax.enable_x64(True):
        given = recorded(case, dict.fromkeys(("query", "key", "value")))
        mask = jnp.asarray(RECORDED[f"{case}/mask"])

        def run(given):
            heads_last = {name: x.swapaxes(1, 2) for name, x in given.items()}
            y, _ = attend(**heads_last, mask=mask if mask.ndim == 4 else mask[None, None], drop=lambda weights: weights)
            return slopes(y.swapaxes(1, 2)), y.swapaxes(1, 2)

        grads, y = jax.jit(jax.grad(run, has_aux=True))(given)
        matches(y, RECORDED[f"{case}/y"])
        matches(grads, recorded(f"{case}/grad", grads))


def test_multi_head_attention_matches_pytorch():
    with jax.enable_x64(True):
        given = recorded("multi_head", dict.fromkeys(("query", "key", "value")))
        layer, mask = nn.MultiHeadAttention(2, 3), jnp.asarray(RECORDED["multi_head/mask"])
        params = recorded("multi_head/params", layer.init(jax.random.key(0), tuple(given.values()))[0])

        def run(params, given):
            y, _ = layer.apply(params, {}, (given["query"], nn.Masked(given["value"], mask), given["key"]))
            return slopes(y), y

        (of_params, along), y = jax.jit(jax.grad(run, (0, 1), has_aux=True))(params, given)
        matches(y, RECORDED["multi_head/y"])
        matches((of_params, along), (recorded("multi_head/grad", of_params), recorded("multi_head/grad", along)))


OPTIONS = st.fixed_dictionaries(
    {
        "grouped": st.booleans(),
        "use_causal_mask": st.booleans(),
        "sliding_window": st.sampled_from([None, 1, 3]),
        "use_bias": st.booleans(),
        "use_gate": st.booleans(),
        "masked": st.booleans(),
        "use_attention_mask": st.booleans(),
    }
)


@settings(derandomize=True, deadline=None, max_examples=4, database=None)
@given(OPTIONS)
def test_options_and_masks_match_keras(options):
    grouped, masked = options.pop("grouped"), options.pop("masked")
    sizes = (3, 4, 2) if grouped else (2, 3, 4)
    own = nn.GroupQueryAttention if grouped else nn.MultiHeadAttention
    ours = own(*sizes, **options, return_attention_scores=True)
    inputs = [jnp.asarray(x) for x in (QUERY, VALUE, KEY)]
    hidden = [jnp.asarray(m) for m in (OF_QUERY, OF_VALUE, OF_KEY)]
    x = [nn.Masked(*pair) for pair in zip(inputs, hidden, strict=True)] if masked else inputs
    x = (*x, jnp.asarray(PAIRS)) if options["use_attention_mask"] else tuple(x)
    params = randomised(ours.init(jax.random.key(0), x)[0])
    y, weights = ours.apply(params, {}, x)[0]
    import keras

    with keras_allowed():
        at_call = {"use_causal_mask": options.pop("use_causal_mask"), "return_attention_scores": True}
        at_call |= {"attention_mask": PAIRS} if options.pop("use_attention_mask") else {}
        at_call |= {"value_mask": OF_VALUE, "key_mask": OF_KEY} if masked else {}
        theirs = getattr(keras.layers, own.__name__)(*sizes, **options)
        theirs.build(QUERY.shape, VALUE.shape, KEY.shape)
        theirs.set_weights([look_up({"params": params}, path) for path in weight_paths(ours, x)])
        expected, of_pairs = theirs(QUERY, VALUE, KEY, **at_call)
    np.testing.assert_allclose(unmask(y)[0], expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(weights, of_pairs, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(unmask(y)[1], OF_QUERY if masked else None)


@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention"])
def test_masks_of_plain_attention_match_keras(name):
    layer = getattr(nn, name)(use_causal_mask=True, return_attention_scores=True, use_scale=False)
    of_value = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 1]], bool)
    x = (nn.Masked(QUERY, OF_QUERY), nn.Masked(VALUE, of_value))
    y, weights = layer.apply({}, {}, x)[0]
    import keras

    with keras_allowed():
        theirs = getattr(keras.layers, name)(use_scale=False)
        options = {"use_causal_mask": True, "return_attention_scores": True}
        expected = theirs([QUERY, VALUE], mask=[OF_QUERY, of_value], **options)
    np.testing.assert_allclose(y.value, expected[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(weights, expected[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(y.mask, OF_QUERY)


def test_masks_of_rows_hide_no_step_and_pass_on():
    layer, rows = nn.MultiHeadAttention(2, 3, activity_regularizer="l2"), jnp.array([True, False])
    params, state = layer.init(jax.random.key(0), QUERY)
    free, _ = layer.apply(params, state, QUERY)
    y, moved = layer.apply(params, state, nn.Masked(QUERY, rows))
    np.testing.assert_array_equal(y.value, free)
    np.testing.assert_array_equal(y.mask, rows)
    _, alone = layer.apply(params, state, QUERY[:1])
    np.testing.assert_allclose(layer.penalty(params, moved), layer.penalty(params, alone), rtol=1e-6)


def test_a_step_that_sees_nothing_is_zero_with_finite_gradients():
    layer = nn.MultiHeadAttention(2, 3, use_bias=False)
    params, _ = layer.init(jax.random.key(0), QUERY)

    def run(params, x):
        return layer.apply(params, {}, nn.Masked(x, jnp.zeros((2, 4), bool)))[0].value

    np.testing.assert_array_equal(run(params, QUERY), 0)
    grads = jax.grad(lambda *given: run(*given).sum(), (0, 1))(params, QUERY)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_the_softmax_of_small_types_is_wide():
    query, key = (jnp.asarray(10 * x[:, :, None], jnp.bfloat16) for x in (QUERY, KEY))
    y, weights = attend(query, key, key, None, lambda weights: weights)
    assert y.dtype == weights.dtype == jnp.bfloat16
    wide, _ = attend(*(a.astype(jnp.float32) for a in (query, key, key)), None, lambda weights: weights)
    # Rounded: the scaled query, the weights, the output; scores near 100 in bfloat16 would be off by 0.25.
    np.testing.assert_allclose(y.astype(jnp.float32), wide, rtol=0.02, atol=0.2)


def test_a_turn_tells_the_distance_alone():
    x = jnp.broadcast_to(jnp.asarray(QUERY[0, :2, None]), (2, 9, 6))
    turned, _ = nn.RotaryEmbedding().apply({}, {}, x)
    products = turned[0] @ turned[1].T
    for distance in range(-3, 4):
        np.testing.assert_allclose(
            *np.broadcast_arrays(np.diag(products, distance), products[4, 4 + distance]), rtol=1e-5
        )
    layer = nn.MultiHeadAttention(2, 4, rotary=nn.RotaryEmbedding(), sliding_window=3, return_attention_scores=True)
    params, _ = layer.init(jax.random.key(0), x)
    (_, weights), _ = layer.apply(params, {}, x)
    np.testing.assert_allclose(weights[:, :, 3, 1:6], weights[:, :, 5, 3:8], rtol=1e-4)


class Tied(nn.Composite):
    tokens: nn.Layer = nn.ReversibleEmbedding(7, 3)
    body: nn.Layer = nn.Dense(3)

    def forward(self, ids):
        return self.tokens(self.body(self.tokens(ids)))


def test_one_table_embeds_and_reads_in_composites_and_graphs():
    ids = jnp.array([[1, 2], [3, 6]])
    params, state = Tied().init(jax.random.key(0), ids)
    table, dense = params["tokens"]["embeddings"], params["body"]
    y, _ = Tied().apply(params, state, ids)
    expected = (table[ids] @ dense["kernel"] + dense["bias"][None, None]) @ table.T
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)
    tokens, x = nn.ReversibleEmbedding(7, 3), nn.Input(shape=(2,), dtype="int32")
    net = nn.Graph(x, tokens(nn.Dense(3)(tokens(x))))
    params, state = net.init(jax.random.key(0), ids)
    assert {name: list(own) for name, own in params.items()} == {
        "reversible_embedding": ["embeddings"], "dense": ["kernel", "bias"],
    }  # fmt: skip
    y, _ = net.apply({"reversible_embedding": {"embeddings": table}, "dense": dense}, state, ids)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{"logit_soft_cap": 0.5}, {"tie_weights": False, "reverse_dtype": "float32"}])
def test_reading_vectors_matches_keras(options):
    import keras

    layer = nn.ReversibleEmbedding(7, 6, **options)
    params = randomised(layer.init(jax.random.key(0), jnp.ones((1, 2), int))[0])
    with keras_allowed():
        theirs = keras.layers.ReversibleEmbedding(7, 6, **options)
        theirs.build()
        theirs.set_weights(list(params.values()))
        expected = theirs(QUERY, reverse=True)
    np.testing.assert_allclose(layer.apply(params, {}, QUERY)[0], expected, rtol=1e-6, atol=1e-6)


def test_attention_works_in_a_model_with_keras_order_of_weights():
    x, v = nn.Input(shape=(4, 6)), nn.Input(shape=(5, 6))
    y, weights = nn.MultiHeadAttention(2, 3, return_attention_scores=True)(x, v)
    model = Model([x, v], [y, weights])
    assert [a.shape for a in model.get_weights()] == [(6, 2, 3), (2, 3)] * 3 + [(2, 3, 6), (6,)]
    assert [a.shape for a in model.predict([QUERY, VALUE])] == [(2, 4, 6), (2, 2, 4, 5)]
