"""What a convolution kernel does to an image: mixes, carries, blurs or sharpens. Exactly, by its moments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, UnsupportedError, checked_type
from pdeconv.filter_bank import Filters
from pdeconv.moments import kernel_from_moments, moments_of_kernel

PARTS = ("reaction", "advection", "diffusion", "higher")


@dataclass(frozen=True)
class KernelParts:
    """A kernel as a sum of kernels, each (F, C, *kernel) in float64: q = reaction + advection + diffusion + higher.

    q acts as Σ_α m_α ∂^α u; each part has the moments m_α of some orders |α|, and no others.

    Attributes:
        reaction: |α| = 0, m·u.
        advection: |α| = 1, m·∇u.
        diffusion: |α| = 2, ∇·M∇u.
        higher: All the rest: dispersion, biharmonic smoothing, and what else fits into the kernel.
        moments: (F, C, *kernel), m_α at the index α.
    """

    reaction: Tensor
    advection: Tensor
    diffusion: Tensor
    higher: Tensor
    moments: Tensor

    @property
    def total(self) -> Tensor:
        """The kernel."""
        return self.reaction + self.advection + self.diffusion + self.higher

    @property
    def sharpens(self) -> Tensor:
        """(F, C), whether the diffusion has the other sign than the reaction, and so works against blur."""
        dims = self.moments.dim() - 2
        second = [tuple(2 * (axis == other) for other in range(dims)) for axis in range(dims)]
        taps = self.moments.shape[2:]
        traces = [self.moments[(..., *alpha)] for axis, alpha in enumerate(second) if taps[axis] > 2]
        trace = torch.stack(traces).sum(0) if traces else torch.zeros_like(self.moments[(..., *(0,) * dims)])
        mean = self.moments[(..., *(0,) * dims)]
        weight = self.total.abs().sum(tuple(range(2, 2 + dims)))
        return (trace * mean < 0) & (mean.abs() > 1e-6 * weight)  # a kernel of mean 0 does neither


def decompose_kernel(kernel: Tensor, spacings: Sequence[float] | None = None) -> KernelParts:
    """Split a kernel into the derivatives that it is made of; the parts add up to it.

    An axis with an even number of taps gets a tap of weight 0 at its end, as ``conv2d`` of an even width with a larger
    padding in front places it.

    Args:
        kernel: (F, C, *kernel), 1 to 3 axes, as the weight of a convolution.
        spacings: dx along each axis; by default 1, so that lengths are pixels.

    Raises:
        PDEConvError: If the shape is not that of a kernel, or a weight is not finite.

    References:
        Z. Long, Y. Lu, X. Ma, B. Dong. PDE-Net: learning PDEs from data. ICML 2018.
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.

    Example:
        >>> parts = decompose_kernel(torch.tensor([[[0.25, 0.5, 0.25]]]))  # u + ∂²u/4: a blur
        >>> parts.reaction.tolist(), parts.diffusion.tolist()
        ([[[0.0, 1.0, 0.0]]], [[[0.25, -0.5, 0.25]]])
    """
    checked_type("decompose_kernel", kernel, Tensor, "give the weight of a convolution")
    if not 3 <= kernel.dim() <= 5 or 0 in kernel.shape:
        raise PDEConvError(
            f"decompose_kernel needs a kernel (F, C, *kernel) of 1 to 3 axes, but got a shape of {tuple(kernel.shape)}."
        )
    if not kernel.isfinite().all():
        raise PDEConvError("decompose_kernel needs finite weights, but the kernel holds NaN or infinity.")
    dims = kernel.dim() - 2
    spacings = (1.0,) * dims if spacings is None else tuple(spacings)
    pads = [pad for width in reversed(kernel.shape[2:]) for pad in (0, 1 - width % 2)]
    moments = moments_of_kernel(F.pad(kernel.detach().cpu().double(), pads), spacings)
    orders = torch.stack(torch.meshgrid(*map(torch.arange, moments.shape[2:]), indexing="ij")).sum(0)
    chosen = [orders == order for order in range(3)] + [orders > 2]
    reaction, advection, diffusion, higher = (kernel_from_moments(moments * some, spacings) for some in chosen)
    return KernelParts(reaction, advection, diffusion, higher, moments)


@dataclass(frozen=True)
class LayerParts:
    """Shares of what one layer does, in 0 to 1; together 1.

    Attributes:
        name: Where it is in the model.
        kind: Its class.
        kernel: (F, C, *kernel).
        mixes: Of the reaction: channels at a pixel.
        carries: Of the advection.
        blurs: Of the diffusion that agrees in sign with the reaction.
        sharpens: Of the diffusion against it.
        higher: Of the other derivatives.
    """

    name: str
    kind: str
    kernel: tuple[int, ...]
    mixes: float
    carries: float
    blurs: float
    sharpens: float
    higher: float


SHARES = ("mixes", "carries", "blurs", "sharpens", "higher")


@dataclass(frozen=True)
class Decomposition:
    """What :func:`decompose` found, layer by layer; ``print`` it for a table, ``pdeconv.viz`` draws it."""

    layers: tuple[LayerParts, ...]

    @property
    def spatial(self) -> Decomposition:
        """The layers that look beyond a pixel: all others only mix channels."""
        return Decomposition(tuple(layer for layer in self.layers if math.prod(layer.kernel[2:]) > 1))

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("layer", "kind", "kernel", *SHARES)]
        for layer in self.layers:
            shape = " × ".join(map(str, layer.kernel))
            rows.append((layer.name, layer.kind, shape, *(f"{100 * getattr(layer, share):.0f} %" for share in SHARES)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        aligned = [
            "  ".join((*map(str.ljust, row[:3], widths), *map(str.rjust, row[3:], widths[3:]))).rstrip() for row in rows
        ]
        return "\n".join((aligned[0], "─" * len(aligned[0]), *aligned[1:]))


def decompose(model: nn.Module) -> Decomposition:
    """Split the kernels of all convolutions of a model: where it mixes, carries, blurs and sharpens.

    The shares of a layer are the energies of the responses of its parts to images with the power spectrum of natural
    ones, 1/|ω|², divided by their sum. Responses of parts overlap, so shares say how large they are beside each other,
    not what would be missing without one.

    Args:
        model: Any module: of this library, of torchvision or of timm.

    Raises:
        UnsupportedError: If there is no convolution.

    References:
        D. J. Field. Relations between the statistics of natural images and the response properties of cortical cells.
        JOSA A 4(12), 1987 (the spectrum).

    Example:
        >>> blur = nn.Conv2d(1, 1, 3, bias=False)
        >>> _ = nn.init.constant_(blur.weight, 1 / 9)
        >>> layer = decompose(blur).layers[0]
        >>> layer.carries, layer.sharpens, layer.blurs > layer.higher
        (0.0, 0.0, True)
    """
    checked_type("decompose", model, nn.Module, "give a network with convolutions")
    found = [
        (name, part, weight) for name, part in model.named_modules() if (weight := kernel_weight(part)) is not None
    ]
    if not found:
        raise UnsupportedError(f"decompose needs convolutions, but {type(model).__name__} has none.")
    return Decomposition(tuple(_layer(name, type(part).__name__, weight) for name, part, weight in found))


def kernel_weight(module: nn.Module) -> Tensor | None:
    """The kernels (F, C, *kernel) of a module that convolves; None for any other."""
    if isinstance(module, Filters):
        return module.kernel.detach()
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.weight.detach()
    return None


def _layer(name: str, kind: str, weight: Tensor) -> LayerParts:
    parts = decompose_kernel(weight)
    energies = {part: _response_energy(getattr(parts, part)) for part in PARTS}
    against = parts.sharpens
    sums = {
        "mixes": energies["reaction"].sum(),
        "carries": energies["advection"].sum(),
        "blurs": energies["diffusion"][~against].sum(),
        "sharpens": energies["diffusion"][against].sum(),
        "higher": energies["higher"].sum(),
    }
    total = max(float(sum(sums.values())), torch.finfo(torch.float64).tiny)
    return LayerParts(name, kind, tuple(weight.shape), **{share: float(value) / total for share, value in sums.items()})


def _response_energy(kernel: Tensor) -> Tensor:
    """(F, C), Σ_ω |q̂(ω)|²/|ω|² = Σ_jk q_j q_k r(j − k), r the autocorrelation of images with that spectrum."""
    flat = kernel.flatten(2)
    return torch.einsum("fcj,jk,fck->fc", flat, _autocorrelation(tuple(kernel.shape[2:])), flat)


def _autocorrelation(taps: tuple[int, ...], size: int = 32) -> Tensor:
    """(N, N), r(j − k) for the N taps of a kernel; on ``size`` frequencies an axis, the mean as the slowest wave."""
    size = max(size, *(2 * width for width in taps))
    line = torch.fft.fftfreq(size, dtype=torch.float64) * 2 * math.pi
    squares = torch.stack(torch.meshgrid(*(line,) * len(taps), indexing="ij")).square().sum(0)
    correlation = torch.fft.fftn(1 / squares.clamp(min=(2 * math.pi / size) ** 2)).real
    places = torch.cartesian_prod(*map(torch.arange, taps)).reshape(-1, len(taps))
    apart = (places[:, None] - places[None]) % size
    return correlation[tuple(apart.unbind(-1))]
