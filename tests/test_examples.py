"""The whole models in examples/ learn, in little; ResNet is Keras's, weight by weight and step by step."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from conftest import keras_allowed

from kjax import optim
from kjax.datasets import digits

FOLDER = pathlib.Path(__file__).parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_keras(module):
    """The same example with Keras's layers and models under the names that it imported from kjax."""
    for name in vars(module):
        for theirs in (keras.layers, keras):
            if hasattr(theirs, name) and not name.startswith("_"):
                setattr(module, name, getattr(theirs, name))
    return module


def test_the_page_lists_every_example():
    page = (FOLDER / "README.md").read_text()
    assert [f.name for f in FOLDER.glob("*.py") if f"[{f.name}]({f.name})" not in page] == []


def test_resnet20_trains_as_in_keras():
    (x, y), _ = digits.load_data()
    x, y = x[:96, ..., None].astype("float32") / 16, y[:96].astype("int32")
    size = {"widths": (4, 8), "blocks": 1}
    ours = example("resnet").resnet20((8, 8, 1), 10, **size)
    ours.compile(optim.SGD(lr=0.1, momentum=0.9), "sparse_categorical_crossentropy")
    with keras_allowed():
        theirs = in_keras(example("resnet")).resnet20((8, 8, 1), 10, **size)
        theirs.set_weights(ours.get_weights())
        theirs.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
        wanted = []
        for i in range(9):
            theirs.reset_metrics()  # Keras returns the mean since the last reset
            wanted.append(theirs.train_on_batch(x[i % 3 :: 3], y[i % 3 :: 3]))
        learned = theirs.get_weights()
    got = [ours.train_on_batch(x[i % 3 :: 3], y[i % 3 :: 3]) for i in range(9)]
    assert wanted[-1] < 0.9 * wanted[2]  # the same batch
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
    for mine, wanted in zip(ours.get_weights(), learned, strict=True):  # moving statistics included
        np.testing.assert_allclose(mine, wanted, rtol=1e-3, atol=1e-4)


def test_resnets_have_the_published_numbers_of_weights():
    resnet = example("resnet")
    small, large = (
        jax.eval_shape(model.net.init, jax.random.key(0), model.net.specs())
        for model in (resnet.resnet20(), resnet.resnet50())
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(small[0])) == 272_474
    with keras_allowed():
        theirs = keras.applications.ResNet50(weights=None)
    shapes = [leaf.shape for leaf in jax.tree.leaves(large)]
    assert sum(map(np.prod, shapes)) == theirs.count_params() == 25_636_712
    assert sorted(shapes) == sorted(tuple(weight.shape) for weight in theirs.weights)


def test_the_unet_finds_shapes():
    unet = example("unet")
    x, y = unet.shapes(128, size=16)
    model = unet.unet((16, 16, 1), width=4, depth=2)
    model.compile(optim.Adam(lr=0.01), "sparse_categorical_crossentropy")
    losses = model.fit(x, y, batch_size=16, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.4 * losses[0]
    ground, *_ = unet.overlaps(y, model.predict(x).argmax(-1))
    assert ground > 0.9


def test_the_vae_improves_its_bound():
    vae = example("vae")
    x = digits.load_data()[0][0][:512].reshape(-1, 64).astype("float32") / 16
    model = vae.VAE(4, hidden=32)
    model.compile(optim.Adam(lr=0.005))
    before = vae.parts(model, x)
    losses = model.fit(x, batch_size=32, epochs=10, verbose=0).history["loss"]
    reconstruction, divergence = vae.parts(model, x)
    assert sum((reconstruction, divergence)) < 0.7 * sum(before) and divergence > 1
    assert losses[-1] == pytest.approx(reconstruction + divergence, rel=0.2)
    assert len(vae.dream(model, 3, 4, 0).splitlines()) == 8


def test_the_divergence_is_that_of_two_gaussians():
    mean, log_variance = jnp.array([[0.5, -1.0]]), jnp.array([[0.2, -0.7]])
    z = np.linspace(-12, 12, 200_001)
    q = np.exp(-((z - np.array(mean).T) ** 2) / (2 * np.exp(log_variance).T)) / np.sqrt(
        2 * np.pi * np.exp(log_variance).T
    )
    p = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    wanted = np.trapezoid(np.where(q > 0, q * np.log(np.maximum(q, 1e-300) / p), 0), z).sum()
    np.testing.assert_allclose(example("vae").divergence(mean, log_variance), [wanted], rtol=1e-4)


def test_the_siamese_network_tells_pairs_and_shares_its_encoder():
    siamese = example("siamese")
    (x, y), (x_test, y_test) = ((x[..., None].astype("float32") / 16, y) for x, y in digits.load_data())
    model, encoder = siamese.networks(8)
    assert model.count_params() == encoder.count_params()
    model.compile(optim.Adam(lr=0.005), siamese.contrastive, metrics=[siamese.accuracy])
    model.fit(*siamese.pairs(x, y, 1000), epochs=6, verbose=0)
    assert model.evaluate(*siamese.pairs(x_test, y_test, 300, 1), verbose=0)[1] > 0.85
    new = siamese.encode(model, x_test)
    assert (siamese.by_neighbours(siamese.encode(model, x), y, new) == y_test).mean() > 0.85


def test_the_gan_comes_to_lie_on_the_ring():
    gan = example("gan")
    keys = jax.random.split(jax.random.key(0), 4)
    generator = gan.player(gan.GENERATOR, keys[0], jnp.ones((1, gan.NOISE)))
    discriminator = gan.player(gan.DISCRIMINATOR, keys[1], jnp.ones((1, 2)))
    before = gan.reached(gan.generate(generator.params, keys[3], 500))
    (generator, _), (g_loss, d_loss) = gan.train(generator, discriminator, keys[2], 2000, 128)
    modes, share = gan.reached(gan.generate(generator.params, keys[3], 500))
    assert before[0] == 0 and modes >= 5 and share > 0.5
    assert jnp.isfinite(g_loss).all() and d_loss[-100:].mean() < 2 * jnp.log(2)
