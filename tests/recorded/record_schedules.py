"""Records PyTorch's OneCycleLR, for tests/optim/test_schedules.py: run it by hand in an environment with torch.

python tests/recorded/record_schedules.py
"""

import pathlib

import numpy as np
import torch

CASES = {
    "cos": {"max_lr": 0.5, "total_steps": 40},
    "linear": {"max_lr": 0.5, "total_steps": 33, "anneal_strategy": "linear", "pct_start": 0.4, "div_factor": 10.0},
    "three": {"max_lr": 2.0, "total_steps": 50, "three_phase": True, "final_div_factor": 100.0, "pct_start": 0.2},
    "three_linear": {"max_lr": 2.0, "total_steps": 41, "three_phase": True, "anneal_strategy": "linear"},
}


def rates(settings):
    """The rate of every step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, **settings)
    found = []
    for _ in range(settings["total_steps"]):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step() if len(found) < settings["total_steps"] else None
    return np.array(found)


recorded = {name: rates(settings) for name, settings in CASES.items()}
np.savez_compressed(pathlib.Path(__file__).with_name("schedules.npz"), **recorded)
