"""Arrays of other libraries: the protocols with small fakes, the frames for real."""

import jax.numpy as jnp
import numpy as np
import pandas
import polars
import pytest

import kjax
from kjax.data import as_array

X = np.arange(6.0, dtype=np.float32).reshape(3, 2)


class Torch:
    """A tensor on another device that wants a gradient: it refuses until it is detached and brought here."""

    dtype, shape = "torch.float32", (3, 2)

    def __init__(self, here=False, plain=False):
        self.here, self.plain = here, plain

    def detach(self):
        return Torch(self.here, True)

    def cpu(self):
        return Torch(True, self.plain)

    def numpy(self):
        assert self.here and self.plain
        return X

    def __array__(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


class Small(Torch):
    """One of bfloat16, which gives itself by DLPack alone."""

    dtype = "torch.bfloat16"

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        raise TypeError("Got unsupported ScalarType BFloat16")

    def __dlpack__(self, **options):
        return jnp.asarray(X, "bfloat16").__dlpack__(**options)

    def __dlpack_device__(self):
        return (1, 0)


class TensorFlow:
    shape = (3, 2)

    def numpy(self):
        return X.astype("float64")


@pytest.mark.parametrize(
    "value", [Torch(), TensorFlow(), pandas.DataFrame(X), polars.DataFrame(X), polars.Series(X), X.tolist()]
)
def test_it_is_an_array_of_single_precision(value):
    found = as_array(value, "x")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X)


def test_small_floats_come_by_dlpack():
    assert as_array(Small(), "x").dtype.name == "bfloat16"


def test_text_in_a_polars_frame_is_refused():
    with pytest.raises(TypeError, match=r"x holds text .* in column b;"):
        as_array(polars.DataFrame({"a": [1.0], "b": ["u"]}), "x")


def test_batches_of_them_train():
    made = kjax.Sequential([kjax.layers.Dense(1, input_shape=(2,))])
    made.compile(kjax.optim.SGD(0.0), "mse")
    y = np.ones((3, 1), np.float32)
    wanted = made.evaluate(X, y, verbose=0)
    for value in (Torch(), TensorFlow(), polars.DataFrame(X), jnp.asarray(X)):
        assert made.evaluate(iter([[value, y]]), verbose=0) == wanted
        np.testing.assert_array_equal(made.predict(iter([[value, value]])), made.predict(X, 3))
