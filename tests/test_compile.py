"""Law: a compiled module is one graph and equals the eager one, forward and backward; it exports with free sizes."""

import pytest
import torch
from cases import ITS_OWN, build_case, each_step
from catalogue import STEPS, TERMS, build
from classifiers import CLASSIFIERS, small
from denoisers import DENOISERS
from pairing import pairs
from separable import REVERSIBLE
from states import CHANNELS, grid_of, state

from pdeconv import CFL, Clamp, Evolve, Fixed, PDEBlock, create_model

ONCE = "Once"
CONTROLS = {ONCE: Fixed(1, unchecked=True), "Fixed": Fixed(2, unchecked=True), "CFL": CFL(0.9), "Clamp": Clamp(2)}
# One limiter and one WENO of each form stand for the others, which are the same operations in another order; so do one
# reaction without a source, one with, and one of each pair of waves and of morphology.
LIKE_OTHERS = ("minmod_advection", "superbee_advection", "weno3_advection", "conservative_advection")
LIKE_OTHERS += ("friction", "fidelity", "fitz_hugh_nagumo", "erosion", "telegraph")
LIKE_OTHERS += ("exponential_diffusion", "p_laplace_diffusion", "q1_diffusion", "spectral_diffusion")
LIKE_OTHERS += ("strong_tensor_diffusion", "edge_enhancing_diffusion", "tanh_convolution", "rational_convolution")
# SSPRK3, RKL2, ETDRK2 and AOS stand for these steps; the leapfrog of a network for the other reversible ones.
LIKE_OTHERS += ("SSPRK34", "RK4", "BogackiShampine", "DormandPrince")
LIKE_OTHERS += ("FED", "RKL1", "IMEXEuler", "ARS222", "ETD1", "ADI")
LIKE_OTHERS += tuple(name for name in REVERSIBLE if name != "Leapfrog of a network")


def marked(cases, like_others):
    """``cases``, those marked that a term or step of ``like_others`` is in: see the markers of pyproject.toml."""
    mark = pytest.mark.like_others
    return [pytest.param(*case, marks=mark) if {*case} & {*like_others} else case for case in dict.fromkeys(cases)]


# Every term with one step, every step with one term, every control.
CASES = [(term, "Euler", ONCE) for term in TERMS] + [(term, step, ONCE) for term, step in each_step()]
CASES += [("perona_malik", "BackwardEuler", "Fixed"), (ITS_OWN, "Leapfrog of a network", "Fixed")]
CASES += [("perona_malik", "Heun", "CFL"), ("conv_advection", "Heun", "Clamp")]
ONE_STAGE = ("Euler", "BackwardEuler", "Exact", "SemiLagrangian")
MANY_STAGES = tuple(step for step in STEPS if step not in (*ONE_STAGE, "Heun", "SSPRK3"))
EXPORTED = [*pairs(steps=ONE_STAGE), *each_step(), ("conv_advection", "SSPRK3")]
FIXED_SIZES = {
    "windowed_nonlocal": "its windows tile the state, and so depend on its size",
    "AOS": "a tridiagonal solve takes log₂N rounds: N is free up to the next power of 2 only",
    "ADI": "a tridiagonal solve takes log₂N rounds: N is free up to the next power of 2 only",
}


def gradients(module, u):
    u = u.detach().requires_grad_()
    out = module(u)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    return [out, *torch.autograd.grad(out.square().sum(), (u, *weights), allow_unused=True)]


def assert_same(compiled, eager, u, tolerance):
    for one, other in zip(gradients(compiled, u), gradients(eager, u), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("term_name", "step_name", "control"), marked(CASES, LIKE_OTHERS))
def test_one_graph(term_name, step_name, control):
    """Traced whole, with its backward; the fallback to eager would be an error."""
    torch.compiler.reset()
    step, channels = build_case(term_name, step_name, "neumann", 2)
    evolve = Evolve(step, 0.1, CONTROLS[control])
    u = state(2, channels=channels)
    assert_same(torch.compile(evolve, fullgraph=True, backend="aot_eager"), evolve, u, 1e-10)


@pytest.mark.parametrize(
    ("term_name", "step_name"),
    [
        ("conv_advection", "Euler"),
        ("perona_malik", "BackwardEuler"),
    ],
)
def test_generated_code(term_name, step_name):
    """The default backend's code, on two: each costs seconds."""
    torch.compiler.reset()
    evolve = Evolve(STEPS[step_name](build(term_name).float()), 0.1, Fixed(1))
    assert_same(torch.compile(evolve, fullgraph=True), evolve, state(2).float(), 1e-4)


def test_a_solve_of_two_parameters():
    """dt and the conductance of one axis: as many inputs as made torch.compile leave out the context."""
    torch.compiler.reset()
    evolve = Evolve(STEPS["BackwardEuler"](build("perona_malik", grid_of("periodic", 1))), 0.1, Fixed(1))
    assert_same(torch.compile(evolve, fullgraph=True, backend="aot_eager"), evolve, state(1), 1e-10)


def test_another_duration_does_not_recompile():
    """dt is a tensor."""
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounter()
    step = STEPS["Heun"](build("perona_malik"))
    advance = torch.compile(lambda u, dt: step(u, dt), backend=counter, fullgraph=True)
    u = state(2)
    for dt in (0.1, 0.05, 0.025):
        assert torch.allclose(advance(u, torch.tensor(dt)), step(u, torch.tensor(dt)))
    assert counter.frame_count == 1


def check_export(module, channels=CHANNELS):
    """torch.export with batch, height and width left open, run at another size."""
    axes = {
        0: torch.export.Dim("batch", min=2),
        2: torch.export.Dim("height", min=5),
        3: torch.export.Dim("width", min=5),
    }
    u, other = state(2, channels=channels), state(2, batch=4, cells=9, channels=channels)
    exported = torch.export.export(module, (u,), dynamic_shapes=(axes,), strict=False).module()
    assert torch.allclose(exported(other), module(other), atol=1e-12)


# windowed_nonlocal takes a minute to refuse.
@pytest.mark.parametrize(
    ("term_name", "step_name"), marked(EXPORTED, (*LIKE_OTHERS, *MANY_STAGES, "windowed_nonlocal"))
)
def test_export_with_free_sizes(term_name, step_name, request):
    for name in FIXED_SIZES.keys() & {term_name, step_name}:
        request.applymarker(pytest.mark.xfail(reason=FIXED_SIZES[name], strict=True))
    step, channels = build_case(term_name, step_name, "neumann", 2)
    check_export(Evolve(step, 0.1, Fixed(1, unchecked=True)), channels)


def test_a_block_exports():
    check_export(torch.nn.Sequential(PDEBlock(CHANNELS)).double())


# These stand for the other families.
SOME = (
    "adr_residual_classifier",
    "adr_classifier",
    "parabolic_classifier",
    "global_diffusion_classifier",
    "heat_classifier",
)
EACH_CLASSIFIER = [name if name in SOME else pytest.param(name, marks=pytest.mark.like_others) for name in CLASSIFIERS]


@pytest.mark.parametrize("name", EACH_CLASSIFIER)
def test_classifiers_are_one_graph(name):
    torch.compiler.reset()
    model = small(name, in_channels=1)
    u = torch.rand(2, 1, 12, 12)
    assert_same(torch.compile(model, fullgraph=True, backend="aot_eager"), model, u, 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", EACH_CLASSIFIER)
def test_classifiers_export(name):
    """For images of one size, in batches of any."""
    model, image = small(name, in_channels=1).eval(), torch.rand(2, 1, 8, 7)
    axes = {0: torch.export.Dim("batch", min=2)}
    exported = torch.export.export(model, (image,), dynamic_shapes=(axes,), strict=False).module()
    other = torch.rand(5, 1, 8, 7)
    assert torch.allclose(exported(other), model(other), atol=1e-5)


@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers_are_one_graph(name):
    torch.compiler.reset()
    model = Told(create_model(name, in_channels=1, **DENOISERS[name]))
    assert_same(torch.compile(model, fullgraph=True, backend="aot_eager"), model, torch.rand(2, 1, 12, 12), 1e-5)


class Told(torch.nn.Module):
    """A denoiser with its noise level: to estimate it is no part of the graph."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, noisy):
        return self.denoiser(noisy, torch.tensor([0.1, 0.2]))
