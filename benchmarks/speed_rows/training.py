"""Training throughput: networks of PDE blocks against a plain ResNet of equal multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from pdeconv import create_model
from pdeconv.models import Classifier

from .multiply_adds import multiply_adds
from .networks import ResNet, matched_resnet, resnet_multiply_adds
from .pairing import Call
from .row import Outcome, Row, Setting, at_least, times_as_fast

Widths = tuple[int, ...]


def classifier(name: str, quick: bool) -> tuple[nn.Module, Widths]:
    network = create_model(name, widths=(8, 16, 32)) if quick else create_model(name)
    assert isinstance(network, Classifier)
    return network, tuple(network.feature_info.channels())


def alternating(quick: bool) -> tuple[nn.Module, Widths]:
    widths = (16, 32, 64)
    return ResNet(widths, (1, 1, 1) if quick else (3, 3, 3), pde=True), widths


def training(network: nn.Module, batch: int, setting: Setting, compiled: bool, channels_last: bool) -> Call:
    """One step of training on synthetic CIFAR: forward, cross-entropy, backward, SGD with momentum."""
    images, labels = torch.rand(batch, 3, 32, 32), torch.randint(10, (batch,))
    network.train()
    if channels_last:
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    call = setting.compiled(network) if compiled else network

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        functional.cross_entropy(call(images), labels).backward()
        optimiser.step()

    return run


def _of_an_image(network: nn.Module, batch: int) -> int:
    """Multiply-adds of an image in a batch, which shares what is done once for all: bounds of the kernels' norms."""
    one, two = (multiply_adds(network, torch.rand(n, 3, 32, 32)) for n in (1, 2))
    return two - one + (2 * one - two) // batch


def _measure(build: Callable[[bool], tuple[nn.Module, Widths]], compiled: bool, setting: Setting) -> Outcome:
    torch.manual_seed(0)
    ours, like = build(setting.quick)
    batch = 4 if setting.quick else 128
    count = _of_an_image(ours, batch)
    widths, blocks = matched_resnet(count, like)
    found = times_as_fast(
        setting,
        training(ours, batch, setting, compiled, channels_last=False),
        training(ResNet(widths, blocks), batch, setting, compiled, channels_last=compiled),
    )
    images = [round(1e3 * batch / ms) for ms in (found.ours, found.other)]
    note = (
        f"{count / 1e6:.1f} M multiply-adds, {images[0]} images/s; ResNet of widths {widths}, blocks {blocks}: "
        f"{resnet_multiply_adds(widths, blocks) / 1e6:.1f} M, {images[1]} images/s"
    )
    return Outcome(found.ours, found.other, found.unit, found.ratio, note)


def rows() -> list[Row]:
    networks = {
        "adr_classifier": (partial(classifier, "adr_classifier"), 'create_model("adr_classifier")'),
        "parabolic_classifier": (partial(classifier, "parabolic_classifier"), 'create_model("parabolic_classifier")'),
        "alternating": (
            alternating,
            "a ResNet-20 of BasicBlocks with a PDEBlock (one Heun step) after each",
        ),
    }
    builds = {"eager": "both eager", "compiled": "both compiled, the ResNet in channels_last, which suits it"}
    return [
        Row(
            f"training/{name}/{kind}",
            f"a batch of 128 synthetic CIFAR images, forward, backward and SGD, {how}: ms of the plain ResNet of equal "
            f"multiply-adds / ms of {what}",
            partial(_measure, build, kind == "compiled"),
            at_least(1),
        )
        for name, (build, what) in networks.items()
        for kind, how in builds.items()
    ]
