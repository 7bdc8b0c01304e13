"""Keras's name for the place of layers; they are those of `kjax.nn`."""

from kjax.nn import Activation as Activation
from kjax.nn import AveragePooling2D as AveragePooling2D
from kjax.nn import AvgPool2D as AvgPool2D
from kjax.nn import BatchNormalization as BatchNormalization
from kjax.nn import Conv2D as Conv2D
from kjax.nn import Dense as Dense
from kjax.nn import Dropout as Dropout
from kjax.nn import Embedding as Embedding
from kjax.nn import Flatten as Flatten
from kjax.nn import GlobalAveragePooling2D as GlobalAveragePooling2D
from kjax.nn import GlobalAvgPool2D as GlobalAvgPool2D
from kjax.nn import GlobalMaxPool2D as GlobalMaxPool2D
from kjax.nn import GlobalMaxPooling2D as GlobalMaxPooling2D
from kjax.nn import Lambda as Lambda
from kjax.nn import Layer as Layer
from kjax.nn import MaxPool2D as MaxPool2D
from kjax.nn import MaxPooling2D as MaxPooling2D
from kjax.nn import Permute as Permute
from kjax.nn import RepeatVector as RepeatVector
from kjax.nn import Reshape as Reshape
from kjax.nn import ZeroPadding2D as ZeroPadding2D
