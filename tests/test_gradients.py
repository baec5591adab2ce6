"""Law: every step of every term differentiates twice: in the state, the weights and dt."""

import pytest
import torch
from cases import build_case, cases
from catalogue import STEPS, TERMS, build
from states import CHANNELS, grid_of, number, state
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from pdeconv import Advection, Clamp, Euler, Evolve, Fixed, PerChannelVelocity

# Where a slope jumps (ReLU, upwinding) finite differences see the jump only if the state is there: not at random.


def function_of_everything(step):
    """(u, dt, *weights) ↦ the step, and its weights."""
    names, weights = [], []
    for name, weight in step.named_parameters():
        names.append(name)
        weights.append(weight)

    def advance(u, dt, *values):
        return functional_call(step, dict(zip(names, values, strict=True)), (u, dt))

    return advance, weights


def function_and_arguments(term_name, step_name, boundary, dims):
    step, channels = build_case(term_name, step_name, boundary, dims, 0.3)
    advance, weights = function_of_everything(step)
    u = state(dims, batch=2, cells=3, channels=channels).requires_grad_()
    return advance, (u, torch.tensor([0.05, 0.11], dtype=torch.float64, requires_grad=True), *weights)


@pytest.mark.parametrize(("term_name", "step_name"), cases())
def test_gradients(term_name, step_name):
    for boundary, dims in (("neumann", 2), ("periodic", 1), ("reflect", 1)):
        assert gradcheck(*function_and_arguments(term_name, step_name, boundary, dims), fast_mode=True)


@pytest.mark.parametrize(("term_name", "step_name"), cases())
def test_second_gradients(term_name, step_name, record_property):
    if "nonlocal" in term_name:
        record_property("note", "on the CPU; attention that CUDA fuses differentiates once: use SDPBackend.MATH there")
    for boundary in ("periodic", "reflect"):
        advance, arguments = function_and_arguments(term_name, step_name, boundary, 1)
        assert gradgradcheck(advance, arguments, fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("term_name", [name for name in TERMS if list(build(name).parameters())])
def test_every_weight_gets_a_gradient(term_name):
    step = STEPS["Heun"](build(term_name, grid_of("neumann", 2)))
    weights = list(step.parameters())
    step(state(2), number(0.05)).square().sum().backward()
    for weight in weights:
        assert weight.grad is not None and weight.grad.isfinite().all()
        assert weight.grad.abs().max() > 0


@pytest.mark.parametrize("term_name", ["perona_malik", "conv_advection", "tanh_convolution", "bistable"])
def test_checkpointing_changes_no_gradient(term_name):
    term, u = build(term_name, grid_of("neumann", 2)), state(2).requires_grad_()
    gradients = []
    for memory in ("store", "checkpoint"):
        evolve = Evolve(STEPS["Heun"](term), 0.5, Fixed(5, unchecked=True), memory=memory)
        gradients.append(torch.autograd.grad(evolve(u).square().sum(), (u, *term.parameters())))
    for stored, recomputed in zip(*gradients, strict=True):
        assert torch.equal(stored, recomputed)


def test_a_constant_state_has_finite_gradients():
    """|∇u| = 0 and kernels of zeros are where square roots lose their slope."""
    for name in TERMS:
        step, u = STEPS["Euler"](build(name)), torch.full((1, CHANNELS, 4, 4), 0.5, dtype=torch.float64)
        if "convolution" in name:
            torch.nn.init.zeros_(step.term.weight)
        u.requires_grad_()
        step(u, number(0.05)).sum().backward()
        assert u.grad.isfinite().all()
        assert all(weight.grad.isfinite().all() for weight in step.parameters() if weight.grad is not None)


def test_a_velocity_at_rest_learns_to_move():
    """It starts at 0, where upwinding changes sides; with Clamp its rate of 0 gives no infinite slope either."""
    for control in (Fixed(3), Clamp(3)):
        velocity = PerChannelVelocity(CHANNELS)
        Evolve(Euler(Advection(velocity)), 0.5, control)(torch.rand(2, CHANNELS, 5, 6)).square().sum().backward()
        assert velocity.weight.grad.isfinite().all() and velocity.weight.grad.abs().min() > 0


def test_one_sick_sample_alone_is_not_healed_by_a_solve():
    u = state(2, batch=1)
    u[0, 0, 1, 1] = torch.nan
    assert STEPS["BackwardEuler"](build("perona_malik"))(u, number(0.1)).isnan().any()
