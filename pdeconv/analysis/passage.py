"""One input on its way through a network: every evolution with its states, and what the network would answer there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdeconv.analysis.report import evolutions_of, states_entering
from pdeconv.coefficient import Coefficient
from pdeconv.errors import PDEConvError, checked_count, checked_type
from pdeconv.evaluating import evaluating
from pdeconv.evolve import Evolve
from pdeconv.grid import Grid
from pdeconv.models.denoiser import Denoiser
from pdeconv.terms import Term


@dataclass(frozen=True)
class LearnedField:
    """A coefficient at the state that enters an evolution.

    Attributes:
        name: Where it is in the step, such as ``"diffusivity"``.
        lowest, mean, highest: Of its values.
    """

    name: str
    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True)
class Leg:
    """One evolution on the way.

    Attributes:
        name: Where it is in the model.
        times: (T,), from 0 to the duration.
        states: T states (1, C, *S).
        answers: T outputs of the whole network, had this evolution ended at that time.
        fields: Its learned coefficients.
    """

    name: str
    times: Tensor
    states: tuple[Tensor, ...]
    answers: tuple[Tensor, ...]
    fields: tuple[LearnedField, ...]


def follow(model: nn.Module, example: Tensor, most_times: int = 13) -> tuple[Leg, ...]:
    """Follow one input through all evolutions of a network, in the order in which they act.

    Args:
        model: A network with an ``Evolve``, a denoiser of this library, or a residual network, whose blocks are Euler
            steps.
        example: (1, C, *S), what the network takes.
        most_times: States to keep of an evolution; evenly spaced, the first and the last among them.

    Raises:
        PDEConvError: If there is no evolution, or the example is not a finite one.

    Example:
        >>> from pdeconv import create_model
        >>> legs = follow(create_model("adr_classifier", widths=(4, 8), depths=(1, 1)), torch.rand(1, 3, 16, 16))
        >>> [(leg.name, len(leg.states), leg.answers[0].shape[1]) for leg in legs]
        [('stages.0.0', 3, 10), ('stages.1.1', 3, 10)]
    """
    checked_type("follow", model, nn.Module, "give a network")
    checked_type("follow", example, Tensor, "give one input")
    if example.dim() < 3 or len(example) != 1 or not example.isfinite().all():
        raise PDEConvError(f"follow needs one finite input (1, C, *S), but got a shape of {tuple(example.shape)}.")
    most_times = max(2, checked_count("follow", "most_times", most_times))
    if isinstance(model, Denoiser):
        with evaluating(model), torch.no_grad():
            return (_way_of_denoiser(model, example, most_times),)
    network, evolutions = evolutions_of("follow", model)
    with evaluating(network), torch.no_grad():
        entered = states_entering("follow", network, evolutions, example)
        return tuple(_leg(network, name, evolutions[name], u, example, most_times) for name, u in entered.items())


def _way_of_denoiser(model: Denoiser, noisy: Tensor, most_times: int) -> Leg:
    """The images from the noisy one to the last, each of them what the denoiser would answer there."""
    trajectory = model.trajectory(noisy)
    kept = _evenly(len(trajectory.states), most_times)
    states = tuple(trajectory.states[place] for place in kept)
    return Leg("(the model)", trajectory.times[kept].float().cpu(), states, states, ())


def _evenly(count: int, most: int) -> list[int]:
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def _leg(network: nn.Module, name: str, evolve: Evolve, u: Tensor, example: Tensor, most_times: int) -> Leg:
    trajectory = evolve.trajectory(u)
    kept = _evenly(len(trajectory.states), most_times)
    states = tuple(trajectory.states[place] for place in kept)
    times = trajectory.times[kept].reshape(len(kept), -1)[:, 0].float().cpu()
    answers = []
    for state in states:
        with _ending_at(evolve, state):
            answers.append(network(example))
    return Leg(name, times, states, tuple(answers), tuple(_fields(evolve, u)))


@contextmanager
def _ending_at(evolve: Evolve, state: Tensor) -> Iterator[None]:
    hook = evolve.register_forward_hook(lambda *_: state.clone())  # what follows may act in place
    try:
        yield
    finally:
        hook.remove()


def _fields(evolve: Evolve, u: Tensor) -> Iterator[LearnedField]:
    """The coefficients of the terms of a step that can be asked at its state."""
    for term_name, term in evolve.step.named_modules():
        if not isinstance(term, Term):
            continue
        for name, part in term.named_modules():
            if isinstance(part, Coefficient) and _owner(term, name) is term:
                values = _asked(part, u, term.grid or Grid(dims=u.dim() - 2))
                if values is not None:
                    label = name if len(term_name) == 0 else f"{type(term).__name__}.{name}"
                    yield LearnedField(label, float(values.min()), float(values.mean()), float(values.max()))


def _owner(term: Term, name: str) -> nn.Module:
    """The innermost term that holds the part ``name`` of a term."""
    owner: nn.Module = term
    module: nn.Module = term
    for step in name.split(".")[:-1]:
        module = getattr(module, step)
        owner = module if isinstance(module, Term) else owner
    return owner


def _asked(coefficient: Callable[[Tensor, Grid], Tensor], u: Tensor, grid: Grid) -> Tensor | None:
    """The values of a coefficient at a state; None of one that is for other states, such as half of the channels."""
    for state in (u, u[:, : u.shape[1] // 2]):
        try:
            return coefficient(state, grid).float()
        except (PDEConvError, RuntimeError):
            continue
    return None
