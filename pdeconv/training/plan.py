"""What each optimizer step trains, and how fast: stage by stage, then jointly. A function of the step number alone."""

import inspect
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.training.config import OptimizerConfig
from pdeconv.training.optimization import learning_rate


@dataclass(frozen=True)
class Phase:
    """The part of a run that a step belongs to.

    Args:
        stages: the first so many stages make the output, and the last of them learns; None for all, jointly.
        step: of the optimizer within the phase, the first being 0.
        steps: of the phase.
    """

    stages: int | None
    step: int
    steps: int

    def part_of(self, model: nn.Module) -> Callable[..., Tensor]:
        """What the loss calls in place of the model."""
        return model if self.stages is None else partial(model, stages=self.stages)


@dataclass(frozen=True)
class Plan:
    """Which steps train a stage alone, which all jointly, and their learning rates (Chen & Pock 2017, section 4).

    The first ``greedy`` share of the steps is divided among the stages; in each of these phases, and in the joint one,
    the learning rate runs through its schedule.

    Args:
        config: of the optimiser.
        stages: of the model.
        total: steps of the run.

    Example:
        >>> plan = Plan(OptimizerConfig(greedy=0.5), stages=2, total=40)
        >>> [plan.at(step).stages for step in (0, 9, 10, 19, 20, 39)]
        [1, 1, 2, 2, None, None]
    """

    config: OptimizerConfig
    stages: int
    total: int

    def at(self, step: int) -> Phase:
        """The phase of a step."""
        greedy = int(self.config.greedy * self.total)
        if step >= greedy:
            return Phase(None, step - greedy, self.total - greedy)
        ends = [greedy * stage // self.stages for stage in range(self.stages + 1)]
        stage = bisect_right(ends, step)
        return Phase(stage, step - ends[stage - 1], ends[stage] - ends[stage - 1])

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        phase = self.at(step)
        return learning_rate(self.config, phase.step, phase.steps)

    def begin(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimiser forget what it gathered, if a phase begins with this step: it was of another loss.

        Besides, stages that no longer learn then stay exactly as they are, even in a tensor that they share with one
        that does: their gradient is 0, and no momentum moves them.
        """
        if self.config.greedy and self.at(step).step == 0:
            forget(optimizer)


def plan_of(network: nn.Module, config: OptimizerConfig, total: int) -> Plan:
    """The plan of a run.

    Greedy training is for a model with an attribute ``stages``, their number, whose ``forward(…, stages=n)`` returns
    the output after the first n, with a gradient in the parameters of the n-th alone.

    Raises:
        PDEConvError: ``greedy`` is above 0 and the model has no stages.
    """
    if not config.greedy:
        return Plan(config, 1, total)
    stages = getattr(network, "stages", None)
    takes = "stages" in inspect.signature(network.forward).parameters
    if not (isinstance(stages, int) and stages >= 2 and takes):
        got = f"{stages} of them" if stages is not None and takes else "none"
        raise PDEConvError(
            f"optimizer.greedy: expected a model of at least 2 stages to train one by one, but "
            f"{type(network).__name__} has {got}; set optimizer.greedy to 0, or take a model of several steps such as "
            "reaction_diffusion_denoiser"
        )
    return Plan(config, stages, total)


def forget(optimizer: torch.optim.Optimizer) -> None:
    """Set the state of an optimiser to what it is before its first step, with an entry for every weight.

    Weights without a gradient are not stepped, and would have none: but a checkpoint holds the state of all.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if any(weight not in optimizer.state for weight in weights):
        rates = [group["lr"] for group in optimizer.param_groups]
        for weight in weights:
            weight.grad = torch.zeros_like(weight)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        optimizer.step()
        optimizer.zero_grad()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()
