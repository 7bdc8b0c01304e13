"""The block that transformers are made of."""

from typing import Any

from kjax import activations
from kjax.frozen import require_int
from kjax.nn.compose import Residual
from kjax.nn.composite import Composite
from kjax.nn.container import Container
from kjax.nn.core import Dense
from kjax.nn.layer import Layer
from kjax.nn.multihead import MultiHeadAttention
from kjax.nn.noise import Dropout
from kjax.nn.norm import LayerNormalization


class TransformerBlock(Composite):
    """Attention of a sequence to itself, then two dense layers, each normalising its input and adding to it.

        x = x + dropout(attention(norm(x)))
        y = x + dropout(dense(activation(wide dense(norm(x)))))

    Args:
        units: the features of input and output.
        num_heads: how many heads, a divisor of units.
        mlp_ratio: how many times units the inner dense layer is wide.
        dropout: the share that is dropped in training of the attention's weights and of both sums' second terms.
        activation: of the inner dense layer.
        use_causal_mask: whether a step sees only itself and what came before it, as in a language model.
        use_bias: whether projections and dense layers have biases.
        rotary: what turns the attention's queries and keys: `RotaryEmbedding()`.
        epsilon: of the normalisations.

    Shapes: (batch, time, units) -> (batch, time, units). Steps that a mask hides are not seen.

    Source: Vaswani et al., 2017 (arXiv:1706.03762), normalised before rather than after: Xiong et al., "On layer
    normalization in the transformer architecture", 2020 (arXiv:2002.04745), as GPT-2 is.

    Raises:
        ValueError: num_heads does not divide units; numbers out of range.
        LayerError: an input of other features.

    >>> import jax, jax.numpy as jnp
    >>> block = TransformerBlock(units=8, num_heads=2, use_causal_mask=True)
    >>> params, state = block.init(jax.random.key(0), jnp.ones((1, 5, 8)))
    >>> block.apply(params, state, jnp.ones((3, 5, 8)))[0].shape
    (3, 5, 8)
    """

    units: int
    num_heads: int
    mlp_ratio: float = 4
    dropout: float = 0.0
    activation: Any = activations.gelu
    use_causal_mask: bool = False
    use_bias: bool = True
    rotary: Any = None
    epsilon: float = 1e-5

    def validate(self) -> None:
        require_int(self.units, "units", "TransformerBlock")
        require_int(self.num_heads, "num_heads", "TransformerBlock")
        require_int(int(self.mlp_ratio * self.units), "mlp_ratio * units", "TransformerBlock")
        if self.units % self.num_heads:
            raise ValueError(
                f"TransformerBlock: num_heads must divide units; got {self.num_heads} heads for {self.units} units"
            )
        super().validate()

    def parts(self) -> dict[str, Layer]:
        attention = MultiHeadAttention(
            self.num_heads,
            self.units // self.num_heads,
            dropout=self.dropout,
            use_bias=self.use_bias,
            rotary=self.rotary,
            use_causal_mask=self.use_causal_mask,
        )
        wide = Dense(int(self.mlp_ratio * self.units), self.activation, self.use_bias)
        back = Dense(self.units, use_bias=self.use_bias)
        norm, drop = LayerNormalization(epsilon=self.epsilon), (Dropout(self.dropout),) * bool(self.dropout)
        return {"attention": Residual((norm, attention, *drop)), "mlp": Residual((norm, wide, back, *drop))}

    build = Container.build  # nothing is computed between the two parts, so shapes can go through

    def forward(self: Any, x: Any) -> Any:
        return self.mlp(self.attention(x))
