"""Law: neurons fire at the rate of the analytic f–I curve, stay bounded, and learn through their spikes."""

import copy
import math

import pytest
import torch

from pdeconv import Constant, LeakyIntegrateAndFire, PDEConvError, PerChannel


def steady(current, frames):
    return torch.as_tensor(current, dtype=torch.float64).reshape(1, 1, 1, -1).expand(1, frames, 1, -1)


def test_the_firing_rate():
    """1/(τ ln((I + rest − reset)/(I + rest − θ))): its period rounded up to whole frames exactly; converging in dt."""
    tau, threshold, rest, reset, time = 2.0, 1.0, 0.1, -0.3, 200.0
    currents = torch.tensor([0.5, 0.85, 0.95, 1.3, 2.0, 4.0], dtype=torch.float64)
    errors = []
    for dt in (0.25, 0.02):
        neurons = LeakyIntegrateAndFire(Constant(1 / tau), dt, threshold, rest, reset)
        frames = round(time / dt)
        counts = neurons(steady(currents, frames)).sum(1).flatten()
        assert (counts[:2] == 0).all()  # rest + I stays below the threshold
        drive = currents[2:] + rest
        period = tau * torch.log((drive - reset) / (drive - threshold))
        whole = torch.ceil(period / dt - 1e-9) * dt
        assert torch.equal(counts[2:], torch.floor(time / whole + 1e-9))
        assert ((1 / period - counts[2:] / time).abs() <= dt / period**2 + 1 / time).all()
        errors.append(float((counts[2:] / time - 1 / period).abs().max()))
    assert errors[1] < 0.1 and errors[1] < errors[0] / 2


def test_the_membrane_is_bounded_and_spikes_are_binary():
    neurons = LeakyIntegrateAndFire(PerChannel(3, ceiling=5.0), dt=0.7, rest=0.2, reset=-0.5).double()
    torch.nn.init.normal_(neurons.leak.weight, std=3.0)
    membrane = torch.full((2, 3, 4, 5), -0.5, dtype=torch.float64)
    for _ in range(50):
        current = 6 * torch.rand(2, 3, 4, 5, dtype=torch.float64) - 2
        spike, membrane = neurons.advance(membrane, current)
        assert set(spike.unique().tolist()) <= {0.0, 1.0} and spike.any()
        assert membrane.max() < 1.0 and membrane.min() >= 0.2 - 2
    assert spike.shape == membrane.shape


def test_the_surrogate_gradient():
    """sharpness / (1 + (π·sharpness·(u − θ))²), times the slope of the flow; not 0 even where nothing fires."""
    neurons, tau, sharpness = LeakyIntegrateAndFire(Constant(0.5), sharpness=2.0), 2.0, 2.0
    membrane = torch.tensor([[[-1.0, 0.3, 0.9, 1.5, 4.0]]], dtype=torch.float64, requires_grad=True)
    spike, _ = neurons.advance(membrane, torch.zeros_like(membrane))
    (slope,) = torch.autograd.grad(spike.sum(), membrane, create_graph=True)
    decay = math.exp(-1 / tau)
    away = membrane * decay - 1
    expected = decay * sharpness / (1 + (math.pi * sharpness * away) ** 2)
    assert torch.allclose(slope, expected)
    (curvature,), (wanted,) = (torch.autograd.grad(s.sum(), membrane) for s in (slope, expected))
    assert torch.allclose(curvature, wanted)

    def spikes_of(one):
        return neurons.advance(one[None], torch.zeros_like(one)[None])[0].sum()

    assert torch.allclose(torch.vmap(torch.func.grad(spikes_of))(membrane.detach()), slope)
    silent = LeakyIntegrateAndFire(PerChannel(1)).double()
    current = torch.full((1, 6, 1, 3), 0.1, dtype=torch.float64, requires_grad=True)
    spikes = silent(current)
    assert not spikes.any()
    spikes.sum().backward()
    assert (current.grad > 0).all() and silent.leak.weight.grad.abs().min() > 0


def test_a_rate_can_be_learned():
    """Gradient descent through the surrogate turns a silent neuron on, to the wanted number of spikes."""
    gain = torch.tensor(0.5, requires_grad=True)
    neurons, optimiser = LeakyIntegrateAndFire(Constant(0.5)), torch.optim.Adam([gain], 0.05)
    for _ in range(60):
        count = neurons(gain * torch.ones(1, 20, 1, 1)).sum()
        optimiser.zero_grad()
        (count - 8).square().backward()
        optimiser.step()
    assert abs(count.item() - 8) <= 2


def test_it_is_a_good_module(monkeypatch):
    """Every number of axes, one graph, half precision, one spike train for each sample, errors that say what to do."""
    neurons = LeakyIntegrateAndFire(PerChannel(2))
    for size in ((3,), (3, 4), (2, 3, 4)):
        assert neurons(torch.rand(2, 4, 2, *size)).shape == (2, 4, 2, *size)
    currents = 3 * torch.rand(2, 4, 2, 3, 3)
    compiled = torch.compile(neurons, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(currents), neurons(currents)) and neurons(currents).any()
    assert torch.equal(neurons(currents)[:1], neurons(currents[:1]))
    half = copy.deepcopy(neurons).bfloat16()(currents.bfloat16())
    assert half.dtype == torch.bfloat16 and set(half.unique().tolist()) == {0.0, 1.0}
    expected = neurons(currents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(neurons(currents.bfloat16()), half) and torch.equal(neurons(currents), expected)
    wide = torch.expm1
    monkeypatch.setattr(torch, "expm1", lambda x: wide(x.float()))  # as under CUDA's autocast
    assert torch.equal(copy.deepcopy(neurons).bfloat16()(currents.bfloat16()), half)
    with pytest.raises(PDEConvError, match="frames"):
        neurons(torch.rand(2, 2, 3))
    with pytest.raises(PDEConvError, match="reset < threshold"):
        LeakyIntegrateAndFire(PerChannel(2), reset=2.0)
