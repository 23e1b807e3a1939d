"""How the weights move: the optimizers, and how the learning rate rises and falls."""

import math
from collections.abc import Callable

import torch

from penjing.core.training import Training
from penjing.methods.finetune import Learner

SCHEDULES: dict[str, Callable[[float], float]] = {  # t: share of the training after warm-up that is done, in [0, 1]
    "constant": lambda t: 1.0,
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
}


def make_optimizer(learner: Learner, options: Training) -> torch.optim.Optimizer:
    """AdamW or SGD with momentum over the weights that learn; no decay on norms and biases (one-dimensional tensors)."""
    alike: dict[tuple[float, bool], list[torch.Tensor]] = {}
    for name, parameter in learner.model.named_parameters():
        if name in learner.rates:
            alike.setdefault((learner.rates[name].factor, parameter.ndim > 1), []).append(parameter)
    groups = [
        {"params": alike[key], "factor": key[0], "weight_decay": options.weight_decay if key[1] else 0.0}
        for key in sorted(alike, reverse=True)
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum, nesterov=options.momentum > 0)
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
