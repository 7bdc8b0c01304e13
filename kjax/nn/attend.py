"""What all kinds of attention share: their inputs."""

from typing import Any

from kjax.nn.errors import LayerError
from kjax.nn.mask import plain, unmask


def inputs_of(layer: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """`(query, value, key, attention mask)` of a layer's inputs; the value stands in for the key, the query for both.

    Raises:
        LayerError: another number of inputs.
    """
    given = list(x) if isinstance(x, tuple | list) else [x]
    mask = unmask(given.pop())[0] if layer.use_attention_mask else None
    if not 1 <= len(given) <= 3:
        raise LayerError(
            f"{layer!r} takes [query, value] or [query, value, key]"
            f"{', and the attention mask behind them' * layer.use_attention_mask}; got {len(given)} of these"
        )
    return given[0], given[min(1, len(given) - 1)], given[-1], mask


def check_inputs(layer: Any, x: Any) -> None:
    """Refuses inputs that do not go together; a rank that is wrong, or a mask that is not asked for."""
    query, value, key, _ = map(plain, inputs_of(layer, x))
    for part in (query, value, key):
        if part.dtype == bool:
            layer.refuse("takes an attention mask, as its last input, only with use_attention_mask=True", part)
        if len(part.shape) < 3 or len(part.shape) != len(query.shape):
            layer.refuse("takes inputs of one rank, 3 or more, (batch, time, features)", part)
        if part.shape[0] != query.shape[0]:
            layer.refuse(f"takes inputs of one batch size; the query's is {query.shape[0]}", part)
    if value.shape[:-1] != key.shape[:-1]:
        layer.refuse(f"takes a value for each key, but the keys have shape {tuple(key.shape)}", value)
