"""Records what PyTorch's optimizers do, for tests/optim/test_rules.py: run it by hand in an environment with torch.

    python tests/recorded/record_optimizers.py

Every case goes 25 steps in float64 from the same parameters with the same gradients, which are recorded beside the
parameters after each step. Where PyTorch adds epsilon elsewhere than Keras does (Adam's family), it is 0.
"""

import pathlib

import numpy as np
import torch
from torch import optim

torch.set_default_dtype(torch.float64)  # NAdam's product of momenta takes this one
STEPS, SHAPES = 25, [(2, 3), (4,), ()]
rng = np.random.default_rng(0)
PARAMS = [rng.normal(size=shape) for shape in SHAPES]
GRADS = [rng.normal(size=(STEPS, *shape)) for shape in SHAPES]


def decayed(make, decay):
    """An optimizer whose rate is lr / (1 + decay * updates made before)."""

    def made(params):
        optimizer = make(params)
        return optimizer, optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + decay * step))

    return made


CASES = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "sgd_momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "sgd_nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.8, nesterov=True),
    "sgd_decay": decayed(lambda p: optim.SGD(p, 0.1), 0.2),
    "rmsprop": lambda p: optim.RMSprop(p, 0.02, alpha=0.8, eps=1e-3),
    "rmsprop_decay": decayed(lambda p: optim.RMSprop(p, 0.02, alpha=0.9, eps=1e-6), 0.1),
    "adagrad": lambda p: optim.Adagrad(p, 0.1, eps=1e-3),
    "adagrad_decay": lambda p: optim.Adagrad(p, 0.1, lr_decay=0.3, eps=1e-6),
    "adadelta": lambda p: optim.Adadelta(p, 1.0, rho=0.9, eps=1e-3),
    "adadelta_decay": decayed(lambda p: optim.Adadelta(p, 2.0, rho=0.95, eps=1e-6), 0.1),
    "adam": lambda p: optim.Adam(p, 0.02, eps=0),
    "adam_betas": lambda p: optim.Adam(p, 0.02, betas=(0.7, 0.9), eps=0),
    "adam_decay": decayed(lambda p: optim.Adam(p, 0.02, eps=0), 0.1),
    "adam_amsgrad": lambda p: optim.Adam(p, 0.02, betas=(0.9, 0.8), eps=0, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 0.02, weight_decay=0.1, eps=0),
    "adamw_amsgrad": lambda p: optim.AdamW(p, 0.02, weight_decay=0.2, betas=(0.9, 0.8), eps=0, amsgrad=True),
    "adamax": lambda p: optim.Adamax(p, 0.02, betas=(0.9, 0.8), eps=0),
    "adamax_decay": decayed(lambda p: optim.Adamax(p, 0.02, eps=0), 0.1),
    "nadam": lambda p: optim.NAdam(p, 0.02, eps=1e-3, momentum_decay=0.004),
    "radam": lambda p: optim.RAdam(p, 0.02, eps=0),
    "radam_betas": lambda p: optim.RAdam(p, 0.05, betas=(0.8, 0.98), eps=1e-3),
    "nadam_schedule": lambda p: optim.NAdam(p, 0.02, betas=(0.8, 0.9), eps=1e-8, momentum_decay=0.5),
}


def trajectory(make):
    """For each parameter, its values after each step."""
    params = [torch.tensor(p, requires_grad=True) for p in PARAMS]
    made = make(params)
    optimizer, schedule = made if isinstance(made, tuple) else (made, None)
    history = [[] for _ in params]
    for step in range(STEPS):
        for p, g in zip(params, GRADS, strict=True):
            p.grad = torch.tensor(g[step])
        optimizer.step()
        if schedule:
            schedule.step()
        for p, values in zip(params, history, strict=True):
            values.append(p.detach().numpy().copy())
    return [np.stack(values) for values in history]


recorded = {f"params_{i}": p for i, p in enumerate(PARAMS)} | {f"grads_{i}": g for i, g in enumerate(GRADS)}
for name, make in CASES.items():
    recorded |= {f"{name}_{i}": values for i, values in enumerate(trajectory(make))}
np.savez_compressed(pathlib.Path(__file__).with_name("optimizers.npz"), **recorded)
