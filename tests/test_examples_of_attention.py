"""The examples with attention learn, in little."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from kjax import optim


def example(name):
    path = pathlib.Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gpt_learns_a_text_and_writes_it():
    gpt = example("gpt_tinyshakespeare")
    text = jnp.asarray(np.arange(600) % 5, jnp.int32)
    trainer = gpt.trainer_of(5, 300, context=8)
    trainer = trainer.replace(net=trainer.net.replace(units=32, depth=2, heads=2))
    state = trainer.init(jax.random.key(0), text[None, :8])
    state, found = gpt.train(trainer, state, text, 300)
    assert found[0] > 1.5 and gpt.evaluate(trainer, state, text) < 0.5
    written = gpt.write(trainer.net, state, text[:8], jax.random.key(0), 10)
    assert (np.asarray(written) == np.arange(8, 18) % 5).mean() > 0.7


def test_the_encoder_decoder_learns_to_turn_strings_round():
    module = example("encoder_decoder")
    model = module.network(3, units=16, heads=2)
    model.compile(optim.Adam(lr=0.01), "sparse_categorical_crossentropy")
    x, y = module.data(512, 0, length=3)
    history = model.fit(x, y, epochs=10, batch_size=32, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    said = module.answer_to(model, x["digits"])
    assert (said == y).mean() > 0.5
