"""Array kernels whose fast lowering depends on the device: pure functions, channels last."""

from .bias import spread as spread
from .bits import keep_mask as keep_mask
from .bits import normal as normal
from .conv import conv as conv
from .conv import make_window as make_window
from .conv import taps as taps
from .grouped import grouped_conv as grouped_conv
from .gru import gru as gru
from .hosted import HostArray as HostArray
from .hosted import hosted as hosted
from .lstm import lstm as lstm
from .norm import norm as norm
from .pool import avg_pool as avg_pool
from .pool import max_pool as max_pool
from .products import product as product
from .products import tensordot as tensordot
from .recurrent import Plan as Plan
from .recurrent import recurrence as recurrence
from .simple_rnn import simple_rnn as simple_rnn
from .standardise import standardise as standardise
from .take import take_rows as take_rows
from .threefry import is_key as is_key
from .threefry import quick as quick
from .threefry import usual as usual
from .transposed import conv_transpose as conv_transpose
from .transposed import transposed_window as transposed_window
