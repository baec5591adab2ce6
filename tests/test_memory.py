"""Law: what backward needs may be stored, computed again or undone: the gradients are the same, the memory is not."""

import copy
import functools
import math
from contextlib import nullcontext

import pytest
import torch
from catalogue import build
from separable import REVERSIBLE
from states import CHANNELS, grid_of, number, randomise, state
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from benchmarks.speed_rows.peak_memory import peak_bytes
from pdeconv import (
    CFL,
    Clamp,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Fidelity,
    Fixed,
    Grid,
    Heun,
    Leapfrog,
    Lie,
    Measured,
    Momentum,
    PDEConvError,
    Residual,
)
from pdeconv.memory import STATES, Undo, march_in_segments, march_reversibly

MEMORIES = ("store", "checkpoint", "reversible")


def gradients(evolve, u):
    u = u.detach().requires_grad_()
    out = evolve(u)
    weights = tuple(evolve.parameters())
    return [out.detach(), *torch.autograd.grad(out.square().mean(), (u, *weights))]


def largest_difference(some, others):
    """Relative to the size of each gradient."""
    return max(float((one - other).norm() / other.norm()) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize(
    ("name", "steps"),
    [(name, 200 if name in ("Leapfrog of a network", "Momentum of diffusion") else 20) for name in REVERSIBLE],
)
def test_the_same_gradients(name, steps):
    """float64: to rounding. float32: the drift is below 1e-5; momentum steps lose a factor of γ⁻²⁰⁰ = 57 more."""
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-3 if "Momentum" in name else 1e-5)):
        step = randomise(REVERSIBLE[name](grid_of("neumann", 2)).to(dtype), 0.3)
        u = state(2, cells=4, channels=2 * CHANNELS).to(dtype)
        stored, recomputed, undone = (
            gradients(Evolve(step, steps / 20, Fixed(steps, unchecked=True), memory=memory), u) for memory in MEMORIES
        )
        assert all(torch.equal(one, other) for one, other in zip(recomputed, stored, strict=True))
        assert torch.equal(undone[0], stored[0])  # the forward pass is the same
        assert largest_difference(undone, stored) < tolerance, dtype


@pytest.mark.parametrize("steps", [1, 8, 9, 37])
def test_segments_of_any_number_of_steps(steps):
    """Bit for bit, as far as each number of repetitions reaches and beyond."""
    step, u = Heun(build("perona_malik") + build("conv_advection")), state(2)
    stored, recomputed = (gradients(Evolve(step, 0.1, Fixed(steps), memory=m), u) for m in MEMORIES[:2])
    assert all(torch.equal(one, other) for one, other in zip(recomputed, stored, strict=True))


@functools.cache
def fewest(steps, states):
    """Steps to compute again, until the first of each is at hand, at best: the schedule may cut anywhere."""
    if steps == 1:
        return 0
    if states == 1:
        return steps * (steps - 1) // 2
    return min(cut + fewest(cut, states) + fewest(steps - cut, states - 1) for cut in range(1, steps))


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 9, 20, 36, 37, 120])
def test_no_schedule_computes_fewer_steps(steps):
    """The forward pass takes all but the last to get there; each once more for what its backward needs."""
    counts = [0] * steps

    def advance(u, dt, index):
        counts[index] += 1
        return (u + dt * torch.sin(u)).clone()

    u = torch.rand(1, 1, 3, requires_grad=True)
    out = march_in_segments(advance, u, torch.tensor(0.1), steps)
    assert counts == [1] * steps
    out.sum().backward()
    assert sum(counts) == 1 + fewest(steps, STATES - 1) + steps
    repeats = next(r for r in range(1, 9) if math.comb(STATES - 1 + r, r) >= steps)
    assert max(counts) <= 1 + repeats


def test_random_numbers_are_the_same_again():
    branch = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Dropout(0.5))
    found = []
    for memory in ("store", "checkpoint"):
        torch.manual_seed(3)
        evolve = Evolve(Euler(Residual(branch)), 1.0, Fixed(12, unchecked=True), memory=memory)
        u = torch.ones(1, CHANNELS, 5, 5, requires_grad=True)
        out = evolve(u).square().sum()
        after = torch.get_rng_state()
        found.append(torch.autograd.grad(out, (u, *evolve.parameters()), retain_graph=True))
        found.append(torch.autograd.grad(out, (u, *evolve.parameters())))  # and once more
        assert torch.equal(torch.get_rng_state(), after)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(others, found[0], strict=True))


def test_states_without_data():
    """On the meta device and of fake tensors, by which memory is estimated."""
    evolve = Evolve(REVERSIBLE["Momentum of a network"](Grid()), 1.0, Fixed(9, unchecked=True), memory="checkpoint")
    for context, device in ((FakeTensorMode(allow_non_fake_inputs=True), "cpu"), (nullcontext(), "meta")):
        evolve.to(device)
        with context:
            u = torch.rand(1, 2 * CHANNELS, 5, 5, device=device, requires_grad=True)
            torch.autograd.grad(evolve(u).sum(), u)


def test_gradients_reach_data_that_another_network_made():
    """Momentum of a fidelity: its data is a buffer, not a parameter, and learns all the same."""
    found = []
    for memory in MEMORIES:
        data = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64, requires_grad=True)
        step = Momentum(Fidelity(Constant(0.5)).towards(2 * data), retention=0.9)
        u = Evolve(step, 1.0, Fixed(4, unchecked=True), memory=memory)(torch.ones(1, 2, 4, 4, dtype=torch.float64))
        found.append(torch.autograd.grad(u.square().sum(), data)[0])
    assert found[0].abs().min() > 0.1
    torch.testing.assert_close(found[1:], [found[0]] * 2)


def test_gradients_reach_dt():
    step, u = randomise(REVERSIBLE["Leapfrog of a network"](Grid()).double()), state(2, channels=2 * CHANNELS)
    for dt in (number(0.1), torch.tensor([0.1, 0.2]).double()):
        dt.requires_grad_()
        out = march_reversibly(Undo(step), u, dt, 5).square().sum()
        other = u
        for _ in range(5):
            other = step(other, dt)
        assert torch.allclose(*(torch.autograd.grad(loss, dt)[0] for loss in (out, other.square().sum())), atol=1e-12)


def count_saved(evolve, u):
    """Tensors that autograd saves between forward and backward."""
    saved = 0

    def pack(tensor):
        nonlocal saved
        saved += 1
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        evolve(u)
    return saved


def test_saved_tensors_are_as_many_at_any_depth():
    step, u = REVERSIBLE["Leapfrog of a network"](Grid()), torch.rand(1, 2 * CHANNELS, 6, 6)
    counts = {
        memory: [count_saved(Evolve(step, 1.0, Fixed(n, unchecked=True), memory=memory), u) for n in (4, 64)]
        for memory in ("store", "reversible")
    }
    few, many = counts["reversible"]
    assert few == many == 2 + len(list(step.parameters()))  # the last state, dt, and the weights
    few, many = counts["store"]
    assert many == 16 * few


def test_peak_memory_of_forward_and_backward():
    """Every allocation counted, of states of 144 KiB: reversible and checkpoint are flat, store is linear."""
    step, u = REVERSIBLE["Leapfrog of a network"](Grid()), torch.rand(4, 2 * CHANNELS, 48, 48)
    size = u.numel() * u.element_size()
    few, many = STATES, 10 * STATES
    peaks = {
        m: [peak_bytes(Evolve(step, 1.0, Fixed(n, unchecked=True), memory=m), u) for n in (few, many)] for m in MEMORIES
    }
    assert peaks["reversible"][1] - peaks["reversible"][0] < size / 2
    assert peaks["checkpoint"][1] - peaks["checkpoint"][0] < size / 2
    assert peaks["store"][1] - peaks["store"][0] > (many - few) * 4 * size


def test_running_means_are_updated_once():
    """Undoing and computing again must not count a batch again."""
    branch = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU(inplace=True))
    results = []
    for memory in ("store", "reversible"):
        step = Momentum(Residual(copy.deepcopy(branch)), retention=0.95)
        evolve = Evolve(step, 1.0, Fixed(4, unchecked=True), memory=memory)
        torch.manual_seed(1)
        results.append([*gradients(evolve, torch.rand(2, 2 * CHANNELS, 5, 5)), *step.buffers()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_autocast_holds_in_backward():
    step = REVERSIBLE["Leapfrog of a network"](Grid())
    u = torch.rand(2, 2 * CHANNELS, 5, 5)
    found = []
    for memory in ("store", "reversible", "checkpoint"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = Evolve(step, 1.0, Fixed(4, unchecked=True), memory=memory)(u)
        found.append(torch.autograd.grad(out.float().square().mean(), tuple(step.parameters())))
    assert largest_difference(found[1], found[0]) < 0.05
    assert all(torch.equal(one, other) for one, other in zip(found[2], found[0], strict=True))


def test_a_good_module_all_the_same():
    """No weight is listed twice, copies are independent, weights can be replaced, and inference stores nothing."""
    evolve = Evolve(REVERSIBLE["Leapfrog of a network"](Grid()), 1.0, Fixed(3, unchecked=True), memory="reversible")
    plain = Evolve(copy.deepcopy(evolve.step), 1.0, Fixed(3, unchecked=True))
    assert list(evolve.state_dict()) == list(plain.state_dict())
    u = torch.rand(1, 2 * CHANNELS, 5, 5)
    twin = copy.deepcopy(evolve)
    with torch.no_grad():
        assert torch.equal(evolve(u), plain(u))
        for weight in twin.parameters():
            weight.zero_()
    assert torch.equal(twin(u), u) and not torch.equal(evolve(u), u)
    scaled = {name: (0.5 * weight).detach().requires_grad_() for name, weight in plain.named_parameters()}
    losses = [functional_call(module, scaled, (u,)).square().sum() for module in (evolve, plain)]
    # Backward comes when the weights are back in place.
    assert largest_difference(*(torch.autograd.grad(loss, tuple(scaled.values())) for loss in losses)) < 1e-4
    assert len(evolve.trajectory(u).states) == 4


class Marching(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.undo = Undo(step)

    def forward(self, u, dt):
        return march_reversibly(self.undo, u, dt, 3)


@pytest.mark.parametrize("name", ["Leapfrog of a network", "Momentum of diffusion", "varying in time"])
def test_second_derivatives(name):
    module = Marching(randomise(REVERSIBLE[name](grid_of("neumann", 1)).double(), 0.3))
    names, weights = zip(*module.named_parameters(), strict=True)

    def march(u, dt, *values):
        return functional_call(module, dict(zip(names, values, strict=True)), (u, dt))

    u, dt = state(1, batch=1, cells=3, channels=2 * CHANNELS).requires_grad_(), number(0.1).requires_grad_()
    assert gradcheck(march, (u, dt, *weights), fast_mode=True)
    assert gradgradcheck(march, (u, dt, *weights), fast_mode=True)


def test_frozen_weights_get_no_gradient():
    step = REVERSIBLE["Leapfrog of a network"](Grid())
    frozen, *others = step.parameters()
    frozen.requires_grad_(False)
    Evolve(step, 1.0, Fixed(3, unchecked=True), memory="reversible")(torch.rand(1, 2 * CHANNELS, 5, 5)).sum().backward()
    assert frozen.grad is None and all(weight.grad.any() for weight in others)


def test_one_graph():
    torch.compiler.reset()
    step = randomise(REVERSIBLE["varying in time"](Grid()).double(), 0.3)
    evolve, u = Evolve(step, 0.5, Fixed(3, unchecked=True), memory="reversible"), state(2, channels=2 * CHANNELS)
    compiled = gradients(torch.compile(evolve, fullgraph=True, backend="aot_eager"), u)
    assert largest_difference(compiled, gradients(evolve, u)) < 1e-12


def test_one_graph_of_checkpoints_within_checkpoints():
    torch.compiler.reset()
    evolve, u = Evolve(Euler(build("channel_diffusion")), 0.5, Fixed(10), memory="checkpoint"), state(2)
    compiled = gradients(torch.compile(evolve, fullgraph=True, backend="aot_eager"), u)
    assert largest_difference(compiled, gradients(evolve, u)) < 1e-12


def test_what_cannot_be_undone_is_refused():
    heat = Diffusion(Constant(1.0))
    momentum = Momentum(heat)
    for step in (Heun(heat), Lie(momentum, Euler(heat))):
        with pytest.raises(PDEConvError, match="SymplecticEuler, Leapfrog, VelocityVerlet, Momentum"):
            Evolve(step, 1.0, Fixed(2, unchecked=True), memory="reversible")
    wave = Leapfrog(REVERSIBLE["Leapfrog of a wave"](Grid()).term)
    for control in (Clamp(2), Measured(0.9)):
        with pytest.raises(PDEConvError, match="Fixed or CFL"):
            Evolve(wave, 1.0, control, memory="reversible")
    assert Evolve(wave, 1.0, CFL(0.9), memory="reversible").steps > 1
