"""What denoisers share: the noise level as the unit of the image, its mean as the zero, and a mirrored margin."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError
from pdeconv.evolve import Trajectory
from pdeconv.grid import check_state
from pdeconv.layers_by_dims import check_axes
from pdeconv.noise_level import estimate_noise_level
from pdeconv.operator import Keeps
from pdeconv.stencil import extend_wide

LOWEST_LEVEL = (
    0.5 / 255
)  # below it an 8-bit image is as good as clean, and dividing by it would ask too much of float32


class Denoiser(nn.Module, ABC):
    """Removes Gaussian noise of a level σ: û = μ + σ·E((f − μ)/σ), E a stable evolution of an image of unit noise.

    So one network serves every noise level, and scales with the image. μ is the mean of each channel, f the noisy
    image, mirrored at its border by ``margin`` and cropped at the end.

    Attributes:
        keeps: What the evolution keeps whatever the weights and the image, for one σ an image: "energy",
            ‖û − μ‖ ≤ ‖f − μ‖ of the mirrored image; "range", min f ≤ û ≤ max f for each channel; "own energy", that of
            the model never grows. With a map σ(x) it keeps the same of (f − μ)/σ: the norm weighted by 1/σ, and not
            the plain one.
        in_channels: Channels of the image.
        dims: Number of spatial axes: 1 for signals (B, C, L), 2 for images, 3 for volumes (B, C, D, H, W).
        radius: Cells to either side that a cell of the result depends on, but for μ.
        multiple: Cells of the coarsest grid's spacing: shifting the image by a multiple of it shifts the result.
        margin: Cells by which the image is mirrored at its border, a multiple of ``multiple``.
        margin_in_training: Whether patches get that margin too, which costs time.
        stages: Parts that the trainer can train one after another (``optimizer.greedy``).

    Example:
        >>> from pdeconv import create_model
        >>> denoiser = create_model("reaction_diffusion_denoiser")
        >>> denoiser(torch.rand(2, 1, 20, 30), sigma=25 / 255).shape
        torch.Size([2, 1, 20, 30])
    """

    keeps: Keeps
    in_channels: int
    dims: int = 2
    radius: int
    multiple: int = 1
    margin: int = 0
    margin_in_training: bool = True
    stages: int = 1

    def forward(
        self,
        noisy: Tensor,
        sigma: float | Tensor | None = None,
        mean: Tensor | None = None,
        stages: int | None = None,
    ) -> Tensor:
        """The denoised image, of the type of ``noisy``.

        E is computed in the type of the weights, what is around it in float32 at least. What the model ``keeps`` it
        keeps of û and f for one σ an image, and of (û − μ)/σ and (f − μ)/σ for a map.

        Args:
            noisy: (B, C, *S).
            sigma: Standard deviation of the noise in the image's units, at least 0.5/255, to which smaller ones are
                raised: a number, (B,), or a map (B, 1, *S); None to estimate it from each image.
            mean: μ, where the image is a part of a larger one: (B, C, 1, …).
            stages: The image after so many stages, with a gradient in the parameters of the last of them alone: to
                train it while those before stay as they are. None for all stages, trained jointly.

        Raises:
            PDEConvError: If the image has not ``in_channels`` channels on ``dims`` axes, σ or μ is of another shape or
                no number, or there are not so many stages.
        """
        if stages is not None and not 1 <= stages <= self.stages:
            raise PDEConvError(f"{type(self).__name__} has {self.stages} stages, but got stages={stages}.")
        v, level, mean = self._in_units_of_noise(noisy, sigma, mean)
        return self._image(self._evolved(v, level, stages)[-1], noisy, level, mean)

    def trajectory(self, noisy: Tensor, sigma: float | Tensor | None = None) -> Trajectory:
        """The image after each step; the unit of time is one step.

        Of a model whose cycles start again from the noisy image, each with the estimate of the one before, these
        estimates.
        """
        v, level, mean = self._in_units_of_noise(noisy, sigma, None)
        states = [self._image(u, noisy, level, mean) for u in self._evolved(v, level)[1:]]
        times = torch.arange(len(states) + 1, dtype=torch.float32, device=noisy.device)
        return Trajectory(times, (noisy, *states))

    @property
    @abstractmethod
    def courant(self) -> float:
        """The largest Courant number dt·rate of a step, by the ceilings: at most 1, the limit, whatever the weights."""

    @abstractmethod
    def _evolved(self, v: Tensor, level: Tensor, stages: int | None = None) -> Sequence[Tensor]:
        """The states from ``v``, noisy by 1 around 0, to the denoised one; ``level`` is σ in the image's units.

        ``v`` is in float32 at least: the model gives it the type of its weights.
        With ``stages`` only those of the first so many, the last of which gets the state before without its gradient.
        """

    def _in_units_of_noise(
        self, noisy: Tensor, sigma: float | Tensor | None, mean: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """((f − μ)/σ with its margin, σ, μ), in float32 at least."""
        check_state(noisy)
        check_axes(type(self).__name__, noisy, self.dims)
        if noisy.shape[1] != self.in_channels:
            raise PDEConvError(
                f"{type(self).__name__} is for images of {self.in_channels} channels, but got the shape "
                f"{tuple(noisy.shape)}; build it with in_channels={noisy.shape[1]}."
            )
        noisy = noisy.to(torch.promote_types(noisy.dtype, torch.float32))
        level = noise_map(noisy, sigma)
        level = self._mirrored(level) if level.shape[2:] == noisy.shape[2:] else level
        mean = noisy.mean(self._axes, keepdim=True) if mean is None else _checked_mean(mean, noisy)
        return (self._mirrored(noisy) - mean) / level, level, mean

    def _image(self, u: Tensor, noisy: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        u = (u * level + mean).to(noisy.dtype)
        for axis in self._axes:
            u = u.narrow(axis, self._margin, noisy.shape[axis])
        return u

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(2, 2 + self.dims))

    @property
    def _margin(self) -> int:
        return self.margin if self.margin_in_training or not self.training else 0

    def _mirrored(self, image: Tensor) -> Tensor:
        """``image`` with its margin, and filled up to a multiple of ``multiple`` beyond it."""
        for axis in self._axes:
            cells = image.shape[axis] + 2 * self._margin
            missing = (self.multiple - cells % self.multiple) % self.multiple
            image = extend_wide(image, axis, "neumann", self._margin + missing)
            image = image.narrow(axis, missing, image.shape[axis] - missing)
        return image


def noise_map(noisy: Tensor, sigma: float | Tensor | None) -> Tensor:
    """σ as a tensor that broadcasts to ``noisy``: (B, 1, 1, …), or (B, 1, *S) for a map; at least ``LOWEST_LEVEL``.

    Raises:
        PDEConvError: If σ is negative (a number), no number, or of a shape that does not belong to the image.
    """
    batch, ones = noisy.shape[0], (1,) * (noisy.ndim - 2)
    if sigma is None:
        level = estimate_noise_level(noisy, noisy.dim() - 2)
    elif isinstance(sigma, Tensor):
        if sigma.dtype == torch.bool or sigma.is_complex():
            raise PDEConvError(f"A denoiser needs real numbers for sigma, but got a tensor of {sigma.dtype}.")
        level = sigma.to(noisy.device)
    elif isinstance(sigma, bool) or not isinstance(sigma, Real):
        raise PDEConvError(
            f"A denoiser needs sigma as a number or a tensor, ({batch},) or a map {_map_of(noisy)}, but got "
            f"{sigma!r}; give the standard deviation of the noise, such as 25 / 255, or torch.tensor of several."
        )
    elif not 0 <= sigma < math.inf:
        raise PDEConvError(f"A denoiser needs a finite noise level sigma of at least 0, but got sigma={sigma}.")
    else:
        level = noisy.new_full((), sigma)
    if level.ndim <= 1:
        level = level.reshape(-1, 1, *ones)
    fits = level.ndim == noisy.ndim and level.shape[0] in (1, batch) and level.shape[1] == 1
    if not fits or level.shape[2:] not in (ones, noisy.shape[2:]):
        raise PDEConvError(
            f"A denoiser needs sigma as a number, ({batch},) or a map {_map_of(noisy)} for images of "
            f"the shape {tuple(noisy.shape)}, but got the shape {tuple(level.shape)}."
        )
    return level.to(noisy.dtype).clamp(min=LOWEST_LEVEL)


def _map_of(noisy: Tensor) -> tuple[int, ...]:
    """The shape of a map of σ."""
    return noisy.shape[0], 1, *noisy.shape[2:]


def _checked_mean(mean: Tensor, noisy: Tensor) -> Tensor:
    """``mean`` in the type of ``noisy``. Raises ``PDEConvError`` unless it is one number a channel."""
    batch, *one = *noisy.shape[:2], *(1,) * (noisy.ndim - 2)
    if not isinstance(mean, Tensor) or list(mean.shape[1:]) != one:
        got = tuple(mean.shape) if isinstance(mean, Tensor) else repr(mean)
    elif mean.shape[0] in (1, batch):
        return mean.to(noisy)
    else:
        got = tuple(mean.shape)
    raise PDEConvError(
        f"A denoiser needs the mean as a tensor {(batch, *one)}, but got {got}; give "
        f"image.mean({tuple(range(2, noisy.ndim))}, keepdim=True), or leave it out."
    )


def cosine_filters(kernel_size: int, channels: int, dims: int = 2) -> Tensor:
    """The orthonormal discrete cosine basis of a window, over an orthonormal basis of the channels, (F, C, k, …).

    The constant of the first channel axis (the mean over the channels) is left out: a gray level is never diffused.
    """
    window = cosine_basis(kernel_size)
    colour = cosine_basis(channels)
    modes, cells = "abd"[:dims], "xyz"[:dims]
    windows = ",".join(mode + cell for mode, cell in zip(modes, cells, strict=True))
    filters = torch.einsum(f"fc,{windows}->f{modes}c{cells}", colour, *[window] * dims)
    return filters.reshape(-1, channels, *(kernel_size,) * dims)[1:]


def cosine_basis(size: int) -> Tensor:
    """Rows of the orthonormal DCT-II."""
    cell, mode = torch.arange(size) + 0.5, torch.arange(size)[:, None]
    basis = torch.cos(math.pi / size * mode * cell) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
