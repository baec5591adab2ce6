"""Converted networks, and those with PDE blocks inside, under the tools that people use: fx, export, ONNX, DDP."""

import copy

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from classifiers import CLASSIFIERS, images, small
from torch import nn
from torchvision.models import ResNet
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from torchvision.models.resnet import BasicBlock

from pdeconv import (
    Advection,
    ConvVelocity,
    Diffusion,
    Euler,
    EulerBlocks,
    Evolve,
    EvolvingBlock,
    PDEBlock,
    PerChannel,
    StabilisedBlocks,
    UnsupportedError,
    create_model,
    fold_ceilings,
    replace_blocks,
)


def resnet(norm_layer=nn.BatchNorm2d):
    """torchvision's, of one block in each layer, so that its export is short."""
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5, norm_layer=norm_layer)
    model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(128, 5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5), module.running_var.uniform_(0.5, 2)
    return model.eval()


def with_pde_blocks():
    model = resnet()
    equation = Diffusion(PerChannel(64, ceiling=0.5)) + Advection(ConvVelocity(64, ceiling=0.5))
    model.layer1.append(PDEBlock(64, Evolve(Euler(equation), duration=0.25)))  # one step: a short export
    nn.init.constant_(model.layer1[-1].gate, 0.5)
    return model


NETWORKS = {
    "converted": lambda: replace_blocks(resnet(), EulerBlocks(steps=2)).model,
    "stabilised": lambda: replace_blocks(resnet(), StabilisedBlocks()).model,
    "inserted": with_pde_blocks,
}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", NETWORKS)
def test_torchvisions_feature_extractor(name, mode):
    model = NETWORKS[name]()
    getattr(model, mode)()
    u = torch.rand(2, 3, 32, 32)
    expected = copy.deepcopy(model)(u)
    features = create_feature_extractor(copy.deepcopy(model), {"layer1": "first", "fc": "logits"})
    getattr(features, mode)()
    found = features(u)
    assert torch.equal(found["logits"], expected) and found["first"].shape == (2, 64, 8, 8)
    found["logits"].sum().backward()
    nodes = get_graph_node_names(model)[1]
    assert ("layer1.1" if name == "inserted" else "layer1.0.evolve") in nodes
    assert not any("evolve." in node for node in nodes)


def test_symbolic_trace():
    model = NETWORKS["converted"]()
    u = torch.rand(2, 3, 32, 32)
    assert torch.equal(torch.fx.symbolic_trace(model)(u), model(u))
    with pytest.raises(UnsupportedError, match=r"Evolve is one node of a traced graph.*nn\.Sequential\(block\)"):
        torch.fx.symbolic_trace(model.layer1[0].evolve)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_have_features_that_torchvision_finds(name):
    model, u = small(name).eval(), images()
    found = create_feature_extractor(model, {"stages.0": "first", "head": "logits"})(u)
    assert torch.allclose(found["logits"], model(u), atol=1e-6) and found["first"].dim() == 4


def classifier(name, **options):
    return create_model(name, in_channels=3, num_classes=5, **options).eval()


ONNX = {
    "converted": NETWORKS["converted"],
    "folded": lambda: fold_ceilings(NETWORKS["stabilised"]()),
    "inserted": NETWORKS["inserted"],
    "adr_classifier": lambda: classifier("adr_classifier", widths=(8,), depths=(1,), steps=1),
    "adr_residual_classifier": lambda: classifier("adr_residual_classifier", widths=(4, 8), depths=(1, 1)),
    "parabolic_classifier": lambda: classifier("parabolic_classifier", widths=(8,), depths=(1,)),
}


@pytest.mark.parametrize("name", ONNX)
def test_export_and_onnxruntime_compute_the_same(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, path = ONNX[name](), str(tmp_path / "model.onnx")
    dynamic = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(model, (torch.rand(2, 3, 32, 32),), dynamic_shapes=dynamic)
    assert not any("pdeconv" in str(node.target) for node in exported.graph.nodes)  # no operator of our own
    torch.onnx.export(exported, f=path, dynamo=True, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in (1, 5):
        u = torch.rand(size, 3, 32, 32)
        with torch.no_grad():
            expected = model(u).numpy()
        [found] = session.run(None, {session.get_inputs()[0].name: u.numpy()})
        for other in (found, exported.module()(u).detach().numpy()):
            np.testing.assert_allclose(other, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def _network():
    torch.manual_seed(0)
    model = nn.Sequential(*(BasicBlock(4, 4, norm_layer=lambda channels: nn.GroupNorm(2, channels)) for _ in range(2)))
    return replace_blocks(model, lambda name, block: StabilisedBlocks() if name == "0" else EulerBlocks(2)).model


def _gradients(model, images):
    (model(images) ** 2).mean().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def _one_of_two(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(_network())
    torch.save(_gradients(model, _images()[2 * rank : 2 * rank + 2]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def _images():
    return torch.rand(4, 4, 6, 6, generator=torch.Generator().manual_seed(1))


def test_two_processes_have_the_gradients_of_one(tmp_path):
    mp.start_processes(_one_of_two, (str(tmp_path),), nprocs=2, start_method="forkserver")
    alone = _gradients(_network(), _images())
    for rank in (0, 1):
        for one, two in zip(alone, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            torch.testing.assert_close(one, two)


def test_a_converted_block_compiles_whole():
    model = NETWORKS["converted"]()
    assert isinstance(model.layer1[0], EvolvingBlock)
    block = model.layer1[0]
    u = torch.rand(1, 64, 6, 6)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(u), block(u))
