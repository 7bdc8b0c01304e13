"""Data sets with Keras's `load_data()`: `(x_train, y_train), (x_test, y_test)`."""

from kjax.datasets import digits as digits
from kjax.datasets import fashion_mnist as fashion_mnist
from kjax.datasets import mnist as mnist
