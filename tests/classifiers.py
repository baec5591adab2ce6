"""Every registered classifier with small options, listed once: a new family is tested by being listed here."""

from __future__ import annotations

import torch
from torch import nn

from pdeconv import create_model

CLASSIFIERS: dict[str, dict[str, object]] = {
    "adr_classifier": dict(widths=(8, 16), depths=(1, 1), steps=1),
    "adr_residual_classifier": dict(stem_width=4, widths=(8, 16), depths=(1, 2), kernel_size=3, expansion=2),
    "attention_classifier": dict(stem_width=4, widths=(8, 16), depths=(1, 2), heads=2, features=2, window=3),
    "global_diffusion_classifier": dict(widths=(4, 8), depths=(1, 1)),
    "hamiltonian_classifier": dict(widths=(8, 16), depths=(1, 2)),
    "heat_classifier": dict(stem_width=4, widths=(8, 16), depths=(1, 2)),
    "ode_classifier": dict(stem_width=4, widths=(8, 16), depths=(1, 1)),
    "parabolic_classifier": dict(widths=(8, 16), depths=(1, 2)),
    "resnet_classifier": dict(widths=(8, 16), depths=(1, 2)),
    "second_order_classifier": dict(widths=(8, 16), depths=(1, 2)),
    "spiking_classifier": dict(stem_width=4, widths=(8, 16), depths=(0, 1), steps=3),
}


def group_norm(channels: int) -> nn.Module:
    """Of one group, so that no sample depends on its batch-mates, nor one cell is all that is normalised."""
    return nn.GroupNorm(1, channels)


def small(name: str, in_channels: int = 3, **options: object) -> nn.Module:
    """The classifier called ``name``, from the same seed every time."""
    torch.manual_seed(0)
    return create_model(name, in_channels=in_channels, **CLASSIFIERS[name] | options)


def images(batch: int = 2, size: tuple[int, int] = (10, 9)) -> torch.Tensor:
    """The same colour images every time."""
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1))
