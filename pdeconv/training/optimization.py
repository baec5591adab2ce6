"""What moves the weights: the optimiser, its learning rate over the run, and a running average of the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm

from pdeconv.errors import PDEConvError
from pdeconv.training.config import OptimizerConfig


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups: tensors of two or more dimensions decay; biases, norms and scalar coefficients do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise PDEConvError(f"{type(model).__name__} has no parameters to train; use evaluate.py, or another model.name")
    decaying = [parameter for parameter in trained if parameter.ndim >= 2]
    other = [parameter for parameter in trained if parameter.ndim < 2]
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": other, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimiser of a model that is already on its device.

    The fused kernels are taken wherever they exist: they are the fast ones, and they can skip a step on the device
    when a loss is not finite (see ``pdeconv.training.finite``).
    """
    groups = parameter_groups(model, config.weight_decay)
    fused = all(parameter.is_floating_point() for group in groups for parameter in group["params"])
    if config.name == "sgd":
        nesterov = config.momentum > 0
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=fused)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=fused)


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """The learning rate of optimizer step ``step`` of ``total``, the first being 0. It has no state of its own.

    ``one_cycle`` rises from lr/25 and falls to nothing, both along half a cosine (Smith & Topin 2019, as in
    ``torch.optim.lr_scheduler.OneCycleLR``, with the momentum left alone); the others rise linearly. A final phase
    stays at ``final_rate``·lr, to which the schedule falls in the steps before it.
    """
    before = total - round(config.final_share * total)
    floor = config.final_rate if before < total else 0.0
    if step >= before:
        return config.lr * floor
    return config.lr * (floor + (1 - floor) * _scheduled(config, step, before))


def _scheduled(config: OptimizerConfig, step: int, total: int) -> float:
    """The share of the largest rate, 0 to 1, that the schedule itself takes."""
    share = config.warmup or (0.25 if config.schedule == "one_cycle" else 0.0)
    warmup = share * total
    if step < warmup:
        if config.schedule == "one_cycle":
            return 1 / 25 + (1 - 1 / 25) * _half_cosine(step / warmup)
        return min(1.0, (step + 1) / warmup)
    if config.schedule == "constant":
        return 1.0
    return 1 - _half_cosine((step - warmup) / (total - warmup))


def _half_cosine(share: float) -> float:
    return (1 - math.cos(math.pi * share)) / 2


class WeightAverage:
    """A running average of the weights, w̄ ← decay·w̄ + (1 - decay)·w after each step.

    The decay rises to its value as (1 + step)/(10 + step), so that a short run does not average its random start.
    The running statistics of batch normalisation are averaged likewise: those of the weights as they are would not
    suit their average. It keeps one tensor for each, shards included, and swaps them in to evaluate: the same module,
    compiled or wrapped as it may be, runs with either weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
        self._averages = [weight.clone() for weight in self._weights()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after the ``step``-th step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._weights(), 1 - decay)  # pyright: ignore

    @torch.no_grad()
    def start_from_weights(self) -> None:
        """Make the average what the weights are now."""
        torch._foreach_copy_(self._averages, self._weights())  # pyright: ignore

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside this context; what changes there, such as statistics, is kept."""
        with torch.no_grad():
            own = [weight.clone() for weight in self._weights()]
            torch._foreach_copy_(self._weights(), self._averages)  # pyright: ignore
        try:
            yield
        finally:
            with torch.no_grad():
                self.start_from_weights()
                torch._foreach_copy_(self._weights(), own)  # pyright: ignore

    def _weights(self) -> list[torch.Tensor]:
        """The weights themselves, of which FSDP has a shard here, and the running statistics."""
        weights = [parameter.detach() for parameter in self._parameters]
        weights = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights]
        statistics = [value for norm in self._norms for value in (norm.running_mean, norm.running_var)]
        return weights + [value for value in statistics if value is not None]
