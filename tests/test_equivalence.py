"""Law: where an equation is something known, it is that, bit for bit or to rounding."""

import pytest
import torch
from states import number
from torch import nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock

from pdeconv import (
    RK4,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Fixed,
    Grid,
    PDEBasicBlock,
    PDEBlock,
    Residual,
    SymmetricConvolution,
)


@pytest.mark.parametrize(
    ("boundary", "padding"), [("periodic", "circular"), ("dirichlet", "zeros"), ("reflect", "reflect")]
)
def test_euler_of_constant_diffusion_is_a_depthwise_convolution(boundary, padding):
    dt, kappa = 0.2, 0.7
    conv = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False, padding_mode=padding, dtype=torch.float64)
    laplacian = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(dt * kappa * laplacian)
        conv.weight[:, :, 1, 1] += 1
    u = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    step = Euler(Diffusion(Constant(kappa), Grid(boundary=boundary)))
    assert torch.allclose(step(u, number(dt)), conv(u), atol=1e-14)


def test_a_symmetric_convolution_is_a_conv_and_its_transpose():
    term = SymmetricConvolution(3, features=5, grid=Grid(boundary="dirichlet"))
    u = torch.randn(2, 3, 6, 7)
    kernel = term.kernel
    by_hand = -nn.functional.conv_transpose2d(nn.functional.conv2d(u, kernel, padding=1).relu(), kernel, padding=1)
    assert torch.allclose(term(u)(u), by_hand, atol=1e-6)


def trained(block):
    """With normalisation that is not at its start."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean), nn.init.uniform_(module.running_var, 0.5, 2.0)
    return block


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("inplanes", "planes", "stride"), [(8, 8, 1), (8, 16, 2), (8, 16, 1)])
def test_a_residual_block_at_dt_1_is_torchvisions(inplanes, planes, stride, mode):
    downsample = None
    if inplanes != planes:
        downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
    theirs = trained(BasicBlock(inplanes, planes, stride, downsample))
    ours = PDEBasicBlock(inplanes, planes, stride, downsample)
    ours.load_state_dict(theirs.state_dict())
    getattr(theirs, mode)(), getattr(ours, mode)()
    u = torch.randn(2, inplanes, 6, 7)
    assert torch.equal(ours(u.clone()), theirs(u.clone()))


def test_a_step_length_widens_no_half_precision(monkeypatch):
    """Under CUDA's autocast addcmul takes the widest type that it is given."""
    seen, addcmul = [], torch.addcmul
    monkeypatch.setattr(torch, "addcmul", lambda *parts: seen.append({part.dtype for part in parts}) or addcmul(*parts))
    u, dt = torch.rand(1, 2, 4, 4).bfloat16(), torch.tensor(0.5)
    for step in (Euler, RK4):
        assert step(Residual(nn.Conv2d(2, 2, 1).bfloat16()))(u, dt).dtype == torch.bfloat16
    assert seen and all(types == {torch.bfloat16} for types in seen)


def test_euler_of_residual_is_a_residual_block():
    branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    u = torch.randn(2, 4, 6, 7)
    assert torch.equal(Evolve(Euler(Residual(branch)), 1.0, Fixed(1, unchecked=True))(u), u + branch(u))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_inserted_blocks_leave_a_resnets_logits_bit_equal(mode):
    net = getattr(trained(resnet18(num_classes=5)), mode)()
    u = torch.randn(2, 3, 32, 32)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    before = net(u)
    net.load_state_dict(state)  # the running statistics too
    for layer in (net.layer1, net.layer2):
        layer.append(PDEBlock(layer[-1].conv2.out_channels))
    assert torch.equal(net(u), before)


def test_a_resnet_built_of_our_blocks_takes_torchvisions_weights():
    from torchvision.models import ResNet

    theirs = trained(resnet18(num_classes=5)).eval()
    ours = ResNet(PDEBasicBlock, [2, 2, 2, 2], num_classes=5).eval()
    ours.load_state_dict(theirs.state_dict())
    u = torch.randn(1, 3, 32, 32)
    assert torch.equal(ours(u), theirs(u))


def test_the_gate_of_a_block_is_bounded_wherever_its_weight_is():
    block = PDEBlock(2)
    with torch.no_grad():
        block.gate[:] = torch.tensor([1e8, -1e8])
    u = torch.randn(1, 2, 8, 8)
    out, evolved = block(u), block.evolve(u)
    torch.testing.assert_close(out[:, 0], evolved[:, 0])
    assert torch.equal(out[:, 1], u[:, 1])
    assert (torch.autograd.grad(out.square().sum(), block.gate)[0] != 0).all()
