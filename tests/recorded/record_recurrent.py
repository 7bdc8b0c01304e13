"""Records what PyTorch's recurrent layers give in float64: outputs, and gradients of sum(w * y), w = cos(1, 2, 3 …).

Run by hand, where torch is installed: python tests/recorded/record_recurrent.py
Keys of the file: `<case>/x`, `<case>/y` (the whole sequences), `<case>/grad/x`, and for each weight, named and ordered
as kjax has it, `<case>/params/<name>` and `<case>/grad/<name>`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
UNITS = 3
CASES = {
    "rnn": (nn.RNN(2, UNITS, batch_first=True), [0]),
    "lstm": (nn.LSTM(2, UNITS, batch_first=True), [0, 1, 2, 3]),
    "gru": (nn.GRU(2, UNITS, batch_first=True), [1, 0, 2]),  # PyTorch's gates are reset, update, candidate
}


def as_kjax_has_it(layer, arrays, gates):
    """The weights by kjax's names: gates in its order, inputs first; one bias where two would only be added."""
    ordered = {name: np.concatenate([a[g * UNITS : (g + 1) * UNITS] for g in gates]) for name, a in arrays.items()}
    biases = ordered["bias_ih_l0"], ordered["bias_hh_l0"]
    return {
        "kernel": ordered["weight_ih_l0"].T,
        "recurrent_kernel": ordered["weight_hh_l0"].T,
        "bias": np.stack(biases) if isinstance(layer, nn.GRU) else sum(biases),
    }


def record(layer, gates):
    rng = np.random.default_rng(0)
    layer = layer.double()
    x = torch.tensor(rng.standard_normal((2, 5, 2)), requires_grad=True)
    for weight in layer.parameters():
        weight.data = torch.tensor(rng.standard_normal(weight.shape))
    y = layer(x)[0]
    (torch.cos(torch.arange(1, y.numel() + 1, dtype=y.dtype)).reshape(y.shape) * y).sum().backward()
    weights = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
    grads = {name: weight.grad.numpy() for name, weight in layer.named_parameters()}
    if not isinstance(layer, nn.GRU):  # one bias in the place of a sum has the gradient of each
        grads["bias_hh_l0"] = np.zeros_like(grads["bias_hh_l0"])
    found = {"x": x.detach().numpy(), "y": y.detach().numpy(), "grad/x": x.grad.numpy()}
    found |= {f"params/{name}": a for name, a in as_kjax_has_it(layer, weights, gates).items()}
    return found | {f"grad/{name}": a for name, a in as_kjax_has_it(layer, grads, gates).items()}


def main():
    found = {f"{case}/{key}": a for case, given in CASES.items() for key, a in record(*given).items()}
    np.savez_compressed(Path(__file__).with_name("recurrent.npz"), **found)


if __name__ == "__main__":
    main()
