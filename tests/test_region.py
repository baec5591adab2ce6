"""Law: torch.compile traces the step of a march once, and each march keeps its own weights."""

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from pdeconv import Diffusion, Euler, Evolve, Fixed, PeronaMalik, Residual
from pdeconv.region import _region, fits_region

needs_regions = pytest.mark.skipif(_region is None, reason="this torch has no regions that can be trained")


def march(steps, channels=2):
    evolve = Evolve(Euler(Diffusion(PeronaMalik(channels))), 0.2, Fixed(steps)).double()
    with torch.no_grad():
        for weight in evolve.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return evolve


def results(module, called, u):
    u = u.clone().requires_grad_()
    out = called(u)
    return [out, *torch.autograd.grad(out.square().sum(), (u, *module.parameters()))]


def assert_equal(module, backend, tolerance):
    u = torch.rand(2, 2, 7, 6, dtype=torch.double)
    before = [weight.clone() for weight in module.parameters()]
    eager = results(module, module, u)
    compiled = results(module, torch.compile(module, fullgraph=True, backend=backend), u)
    for one, other in zip(compiled, eager, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert all(torch.equal(one, other) for one, other in zip(module.parameters(), before, strict=True))


@needs_regions
def test_the_graph_does_not_grow_with_the_steps():
    sizes = []
    for steps in (2, 30):
        torch.compiler.reset()
        counter = CompileCounterWithBackend("eager")
        torch.compile(march(steps), fullgraph=True, backend=counter)(torch.rand(1, 2, 6, 6, dtype=torch.double))
        (graph,) = counter.graphs
        sizes.append(sum(len(part.graph.nodes) for part in graph.modules() if isinstance(part, torch.fx.GraphModule)))
    assert sizes[1] - sizes[0] < 6 * 28  # the call of the region and the time, not the stencils


def test_marches_of_one_kind_keep_their_own_weights():
    torch.compiler.reset()
    assert_equal(nn.Sequential(march(2), march(3), march(2)), "aot_eager", 1e-12)


def test_generated_code_leaves_the_weights_alone():
    """Inductor wrote into the weights in the backward pass of a region (see ``pdeconv.region``)."""
    torch.compiler.reset()
    assert_equal(march(4), "inductor", 1e-10)


def test_what_torch_cannot_make_a_region_is_traced_as_before():
    """Running means that are updated."""
    torch.compiler.reset()
    step = Euler(Residual(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)))
    assert not fits_region(step)
    evolve, u = Evolve(step, 0.2, Fixed(3, unchecked=True)), torch.rand(2, 2, 6, 6)
    torch.compile(evolve, fullgraph=True, backend="aot_eager")(u).sum().backward()
    assert evolve.get_buffer("step.term.module.1.num_batches_tracked").item() == 3
