"""The native kernels are the plain operators: states and gradients, in float32 against the same step in float64."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from states import randomise
from torch import Tensor, nn

from pdeconv import (
    SSPRK3,
    Advection,
    Bistable,
    Charbonnier,
    Coefficient,
    Constant,
    ConstantVelocity,
    ConvVelocity,
    CrankNicolson,
    Decay,
    Diffusion,
    Euler,
    Evolve,
    Exponential,
    Fixed,
    Grid,
    Heun,
    Logistic,
    PerChannel,
    PerChannelVelocity,
    PeronaMalik,
    Reaction,
    Strang,
    Term,
)
from pdeconv.native.library import enabled, plain_operators

pytestmark = pytest.mark.skipif(not enabled(), reason="the native kernels were not built")

CHANNELS = 3
BOUNDARIES = ("neumann", "periodic", "dirichlet", "reflect")
TERMS: dict[str, Callable[[Grid], Term]] = {
    "constant": lambda g: Diffusion(Constant(0.7), g),
    "diffusion": lambda g: Diffusion(PerChannel(CHANNELS), g),
    "rational": lambda g: Diffusion(PeronaMalik(CHANNELS, 0.3), g),
    "exponential": lambda g: Diffusion(Exponential(CHANNELS, 0.3), g),
    "charbonnier": lambda g: Diffusion(Charbonnier(CHANNELS, 0.3), g),
    "fixed velocity": lambda g: Advection(ConstantVelocity((-0.4, 0.9)[: g.dims]), g),
    "velocity": lambda g: Advection(PerChannelVelocity(CHANNELS, dims=g.dims), g),
    "convolved velocity": lambda g: Advection(ConvVelocity(CHANNELS, dims=g.dims), g),
    "decay": lambda g: Reaction(Decay(CHANNELS)),
    "logistic": lambda g: Reaction(Logistic(CHANNELS)),
    "bistable": lambda g: Reaction(Bistable(CHANNELS)),
    "uniform sum": lambda g: (
        Diffusion(PerChannel(CHANNELS), g)
        + Diffusion(Constant(0.2), g)
        + Advection(PerChannelVelocity(CHANNELS, dims=g.dims), g)
        + Reaction(Bistable(CHANNELS))
        + Reaction(Decay(CHANNELS))
    ),
    "full sum": lambda g: (
        Reaction(Logistic(CHANNELS))
        + Advection(ConvVelocity(CHANNELS, dims=g.dims), g)
        + Diffusion(Exponential(CHANNELS, 0.3), g)
    ),
}
STEPS = (Euler, Heun, SSPRK3)


def built(name: str, step: type, boundary: str, dims: int, count: int = 3) -> Evolve:
    grid = Grid((0.8, 1.3)[:dims], boundary)
    evolve = Evolve(step(TERMS[name](grid)), 0.06 * count, Fixed(count, unchecked=True))
    randomise(evolve)
    return evolve


def state(*shape: int) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(shape) * 2 - 1


def gradients(evolve: nn.Module, u: Tensor) -> list[Tensor]:
    u = u.clone().requires_grad_()
    out = evolve(u)
    torch.manual_seed(2)
    weight = torch.rand(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), [u, *evolve.parameters()])]


def marches_natively(evolve: Evolve, u: Tensor) -> bool:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        evolve(u)
    return any(event.key == "pdeconv::march" for event in recorded.key_averages())


@pytest.mark.parametrize("dims", (1, 2))
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", TERMS)
def test_states_and_gradients_are_those_of_the_plain_operators(name: str, step: type, boundary: str, dims: int) -> None:
    evolve = built(name, step, boundary, dims)
    u = state(2, CHANNELS, *(9, 14)[:dims])
    assert marches_natively(evolve, u)
    found = gradients(evolve, u)
    expected = gradients(deepcopy(evolve).double(), u.double())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-5 * float(other.abs().max()))


def test_a_plane_in_tiles_is_bit_for_bit_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for boundary in BOUNDARIES:
        for name in ("exponential", "uniform sum", "full sum"):
            evolve, u = built(name, Heun, boundary, 2, count=5), state(1, CHANNELS, 70, 133)
            monkeypatch.setattr("pdeconv.native.march._PLANE", 0)
            monkeypatch.setattr("pdeconv.native.march._SMALL", 0)
            monkeypatch.setattr("pdeconv.native.march._TILE", (16, 40))
            with torch.no_grad():
                tiles = evolve(u)
                monkeypatch.undo()
                assert torch.equal(tiles, evolve(u)), (boundary, name)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 1, 5), (2, 3, 2, 1), (1, 3, 2, 2), (1, 3, 1), (2, 3, 300, 280)])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_any_size(shape: tuple[int, ...], boundary: str) -> None:
    evolve = built("full sum", Heun, boundary, len(shape) - 2)
    u = state(*shape)
    with torch.no_grad():
        expected = deepcopy(evolve).double()(u.double())
        torch.testing.assert_close(evolve(u).double(), expected, rtol=1e-5, atol=1e-5)


def test_many_steps_in_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    evolve, u = built("full sum", Heun, "neumann", 2, count=7), state(2, CHANNELS, 6, 5)
    whole = gradients(evolve, u)
    monkeypatch.setattr("pdeconv.native.march._STATES", 6 * 5 * 2 * 3)
    for one, other in zip(gradients(evolve, u), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_gradients_of_gradients() -> None:
    evolve, u = built("full sum", Heun, "neumann", 2), state(1, CHANNELS, 5, 4)

    def penalty(evolve: nn.Module, u: Tensor) -> list[Tensor]:
        u = u.clone().requires_grad_()
        (grad,) = torch.autograd.grad(evolve(u).square().sum(), u, create_graph=True)
        return list(torch.autograd.grad(grad.square().sum(), [u, *evolve.parameters()]))

    found, expected = penalty(evolve, u), penalty(deepcopy(evolve).double(), u.double())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_the_operator_is_registered_right() -> None:
    from pdeconv.native.march import _march

    torch.manual_seed(0)
    u, dt, kappa = torch.rand(1, 2, 4, 5, requires_grad=True), torch.tensor(0.1), torch.rand(2, requires_grad=True)
    nothing = (None,) * 5
    torch.library.opcheck(_march, (u, dt, kappa, *nothing, 0, 0.0, 0, [1.0, 1.0], [0.0, 0.5], 2))


def test_compiles_as_one_graph() -> None:
    evolve, u = built("full sum", Heun, "neumann", 2), state(2, CHANNELS, 9, 8)
    for one, other in zip(gradients(torch.compile(evolve, fullgraph=True), u), gradients(evolve, u), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_what_the_kernels_do_not_know_is_left_to_the_plain_operators() -> None:
    evolve, u = built("full sum", Heun, "neumann", 2), state(2, CHANNELS, 9, 8)
    assert marches_natively(evolve, u)
    with plain_operators():
        assert not marches_natively(evolve, u)
    assert not marches_natively(deepcopy(evolve).double(), u.double())
    calls = []
    handle = evolve.step.term.register_forward_hook(lambda *_: calls.append(1))
    assert not marches_natively(evolve, u)
    assert len(calls) == 2 * 3
    handle.remove()

    class Stronger(Diffusion):
        def forward(self, u: Tensor):
            return super().forward(2 * u)

    class Softer(PeronaMalik):
        def profile(self, squared: Tensor) -> Tensor:
            return 1 / (1 + squared).square()

    class Always(Logistic):
        def source(self, u: Tensor) -> Tensor | None:
            return torch.ones_like(u)

    for term in (Stronger(Constant(0.1)), Diffusion(Softer(CHANNELS)), Reaction(Always(CHANNELS))):
        assert not marches_natively(Evolve(Euler(term), 0.1, Fixed(1, unchecked=True)), u)


def test_tangents_batches_and_traces_take_the_plain_operators() -> None:
    evolve, u = built("full sum", Heun, "neumann", 2), state(2, CHANNELS, 9, 8)
    _, tangent = torch.func.jvp(evolve, (u,), (torch.ones_like(u),))
    with plain_operators():
        torch.testing.assert_close(tangent, torch.func.jvp(evolve, (u,), (torch.ones_like(u),))[1])
    torch.testing.assert_close(torch.func.vmap(evolve)(u[None]), evolve(u)[None])
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(u, torch.ones_like(u))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(evolve(dual)).tangent, tangent)
    exported = torch.export.export(evolve, (u,))
    assert "pdeconv" not in str(exported.graph)


def test_a_nan_stays_one() -> None:
    for name in ("rational", "exponential", "convolved velocity", "uniform sum"):
        u = state(1, CHANNELS, 8, 8)
        u[0, 0, 4, 4] = torch.nan
        evolve = built(name, Heun, "neumann", 2)
        found = evolve(u)
        with plain_operators():
            assert torch.equal(found.isnan(), evolve(u).isnan())


def test_gradients_that_nobody_wants_and_other_layouts() -> None:
    evolve, u = built("full sum", Heun, "neumann", 2), state(2, CHANNELS, 9, 8)
    for parameter in evolve.parameters():
        parameter.requires_grad_(False)
    inner = u.clone().requires_grad_()
    evolve(inner).sum().backward()
    assert inner.grad is not None and inner.grad.isfinite().all()
    last = u.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(evolve(last), evolve(u))
    torch.testing.assert_close(evolve(u.mT), evolve(u.mT.contiguous()))


class Shifted:
    def forward(self, u: Tensor, *rest: Tensor):
        return super().forward(u, *rest) + 1  # pyright: ignore[reportAttributeAccessIssue]


def test_what_a_subclass_changes_is_not_passed_over() -> None:
    class Mixed(Doubling, Diffusion): ...

    class Ralston(Heun):
        a, b = ((2 / 3,),), (1 / 4, 3 / 4)

    class Noisy(Shifted, Euler): ...

    class Uneven(Coefficient):
        ceiling = 1.0

        def forward(self, u: Tensor, grid: Grid) -> Tensor:
            return u.std().reshape(1, 1, 1, 1)

    class Low(nn.Conv2d):
        def forward(self, u: Tensor) -> Tensor:
            return super().forward(u) / 2

    velocity = ConvVelocity(CHANNELS)
    velocity.conv = Low(CHANNELS, 2 * CHANNELS, 3, groups=CHANNELS)
    heat, u = Diffusion(Constant(0.2)), state(1, CHANNELS, 6, 7)
    steps = (
        Euler(Mixed(Constant(0.2))),
        Ralston(heat),
        Noisy(heat),
        Euler(Diffusion(Uneven())),
        Euler(Advection(velocity)),
    )
    for step in steps:
        evolve = Evolve(step, 0.3, Fixed(3, unchecked=True))
        with torch.no_grad(), plain_operators():
            expected = evolve(u)
        assert not marches_natively(evolve, u)
        torch.testing.assert_close(evolve(u), expected)


class Doubling:
    def forward(self, u: Tensor):
        return super().forward(2 * u)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_grid_of_other_axes_is_left_to_the_plain_step() -> None:
    step, u = Euler(Diffusion(Constant(0.2), Grid(dims=1))), state(1, CHANNELS, 6, 7)
    with plain_operators():
        expected = step(u, torch.tensor(0.1))
    torch.testing.assert_close(step(u, torch.tensor(0.1)), expected)


def test_sums_over_large_planes_are_exact() -> None:
    evolve, u = Evolve(Euler(Diffusion(PerChannel(1)) + Reaction(Decay(1))), 0.1, Fixed(1)), state(1, 1, 500, 700) + 1
    found, expected = gradients(evolve, u), gradients(deepcopy(evolve).double(), u.double())
    for one, other in zip(found[2:], expected[2:], strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-6, atol=0)


def test_extreme_contrasts_stay_numbers() -> None:
    evolve, u = built("rational", Euler, "neumann", 2), state(1, CHANNELS, 6, 7)
    for extreme in (-46.0, 60.0):
        nn.init.constant_(evolve.step.term.diffusivity.log_contrast, extreme)
        assert all(found.isfinite().all() for found in gradients(evolve, u))


def test_a_step_compiled_by_itself_is_compiled_once() -> None:
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    for steps in (4, 40):
        evolve = Evolve(Strang(CrankNicolson(Diffusion(PerChannel(CHANNELS))), Heun(Reaction(Bistable(CHANNELS)))), 1.0)
        evolve.set_control(Fixed(steps))
        evolve.step.compile(backend=counting, fullgraph=True)
        with torch.no_grad():
            evolve(state(1, CHANNELS, 12, 12))
    assert 1 <= len(graphs) <= 2  # at most one for each equation, however many steps
