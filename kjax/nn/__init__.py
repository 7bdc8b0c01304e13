"""Layers: pure `init` and `apply` over dicts of arrays. The contract is in `kjax.nn.layer`."""

from kjax.nn.compose import Serial as Serial
from kjax.nn.conv import Conv2D as Conv2D
from kjax.nn.conv import ZeroPadding2D as ZeroPadding2D
from kjax.nn.core import Activation as Activation
from kjax.nn.core import Dense as Dense
from kjax.nn.core import Embedding as Embedding
from kjax.nn.core import Flatten as Flatten
from kjax.nn.core import Lambda as Lambda
from kjax.nn.core import Permute as Permute
from kjax.nn.core import RepeatVector as RepeatVector
from kjax.nn.core import Reshape as Reshape
from kjax.nn.errors import LayerError as LayerError
from kjax.nn.layer import Layer as Layer
from kjax.nn.layer import merge as merge
from kjax.nn.mask import Masked as Masked
from kjax.nn.noise import Dropout as Dropout
from kjax.nn.norm import BatchNormalization as BatchNormalization
from kjax.nn.pool import AveragePooling2D as AveragePooling2D
from kjax.nn.pool import AvgPool2D as AvgPool2D
from kjax.nn.pool import GlobalAveragePooling2D as GlobalAveragePooling2D
from kjax.nn.pool import GlobalAvgPool2D as GlobalAvgPool2D
from kjax.nn.pool import GlobalMaxPool2D as GlobalMaxPool2D
from kjax.nn.pool import GlobalMaxPooling2D as GlobalMaxPooling2D
from kjax.nn.pool import MaxPool2D as MaxPool2D
from kjax.nn.pool import MaxPooling2D as MaxPooling2D
