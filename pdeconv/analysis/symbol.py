"""Fourier symbols: what a kernel, a term and a step do to a wave of each frequency."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pdeconv.analysis.linearise import Linearised
from pdeconv.errors import PDEConvError, UnsupportedError, checked_count, checked_type
from pdeconv.grid import Grid
from pdeconv.steps import Step
from pdeconv.terms import Term


def frequencies(size: Sequence[int]) -> Tensor:
    """(D, *size), the angular frequencies in radians a cell, each axis in the order of ``torch.fft.fftfreq``.

    Example:
        >>> frequencies((4,))
        tensor([[ 0.0000,  1.5708, -3.1416, -1.5708]], dtype=torch.float64)
    """
    lines = [torch.fft.fftfreq(n, dtype=torch.float64) * 2 * math.pi for n in size]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))


def kernel_symbol(kernel: Tensor, size: Sequence[int]) -> Tensor:
    """q̂(ω) = Σₖ qₖ e^{iω·k}: convolution by q makes q̂(ω)·e^{iω·x} of the wave e^{iω·x}, on periodic cells.

    Args:
        kernel: (…, *kernel), as many axes of taps as ``size``, centred: k = −⌊n/2⌋ …
        size: Cells along each axis.

    Returns:
        (…, *size), complex128, at :func:`frequencies`.

    Example:
        >>> kernel_symbol(torch.tensor([1.0, -2.0, 1.0]), (4,)).real.round(decimals=9)  # −4 sin²(ω/2)
        tensor([ 0., -2., -4., -2.], dtype=torch.float64)
    """
    checked_type("kernel_symbol", kernel, Tensor, "give the weight of a convolution")
    taps = kernel.shape[kernel.dim() - len(size) :]
    if len(taps) != len(size) or any(width > n for width, n in zip(taps, size, strict=True)):
        raise PDEConvError(
            f"kernel_symbol needs at least as many cells as taps along each axis, but got a kernel of shape "
            f"{tuple(kernel.shape)} for size={tuple(size)}."
        )
    symbol = kernel.detach().cpu().to(torch.complex128)
    for axis, (width, n) in enumerate(zip(taps, size, strict=True), -len(size)):
        omega = torch.fft.fftfreq(n, dtype=torch.float64) * 2 * math.pi
        waves = torch.exp(1j * omega[:, None] * (torch.arange(width) - width // 2))
        symbol = torch.movedim(torch.movedim(symbol, axis, -1) @ waves.T, -1, axis)
    return symbol


def term_symbol(term: Term, size: Sequence[int], state: Tensor | None = None) -> Tensor:
    """The symbol of a term u_t = A(u)u linearised at a uniform state, on periodic cells: λ(ω), a matrix of channels.

    A wave e^{iω·x}·c, c a vector of the channels, changes at the rate λ(ω)c.

    Args:
        term: The term; for the analysis its boundary is periodic, its spacing its own.
        size: Cells along each axis.
        state: (C,), the value of each channel; by default one channel of zeros.

    Returns:
        (*size, C, C), complex128.

    Raises:
        UnsupportedError: If the term is not the same at all cells.

    Example:
        >>> from pdeconv import Constant, Diffusion, Grid
        >>> term = Diffusion(Constant(0.5), Grid(dims=1))
        >>> term_symbol(term, (4,), torch.zeros(1))[..., 0, 0].real  # −4κ sin²(ω/2)
        tensor([ 0., -1., -2., -1.], dtype=torch.float64)
    """
    checked_type("term_symbol", term, Term, "wrap a module as Residual(module)")
    periodic = _periodic(term)
    return _symbol(lambda u: periodic(u)(u), size, _uniform(state, size))


def amplification(step: Step, dt: float, size: Sequence[int], state: Tensor | None = None) -> Tensor:
    """The amplification matrix G(ω) of one step of dt, linearised at a uniform state, on periodic cells.

    A wave e^{iω·x}·c becomes e^{iω·x}·G(ω)c; the step is linearly stable (von Neumann) where the eigenvalues of all
    G(ω) are at most 1 in magnitude.

    Args:
        step: The step; for the analysis its terms have periodic boundaries.
        dt: Its time.
        size: Cells along each axis.
        state: (C,), the value of each channel; by default one channel of zeros.

    Returns:
        (*size, C, C), complex128.

    Raises:
        UnsupportedError: If the step is not the same at all cells.

    References:
        J. C. Strikwerda. Finite difference schemes and partial differential equations, ch. 2. SIAM 2004.

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler, Grid
        >>> step = Euler(Diffusion(Constant(1.0), Grid(dims=1)))
        >>> amplification(step, 0.5, (4,), torch.zeros(1))[..., 0, 0].real  # 1 − 4κdt sin²(ω/2)
        tensor([ 1.,  0., -1.,  0.], dtype=torch.float64)
    """
    checked_type("amplification", step, Step, "give for example Euler(term)")
    periodic = _periodic(step)
    return _symbol(lambda u: periodic(u, torch.tensor(dt, dtype=u.dtype)), size, _uniform(state, size))


def _uniform(state: Tensor | None, size: Sequence[int]) -> Tensor:
    """(1, C, *size) in float64."""
    state = torch.zeros(1) if state is None else state
    if state.dim() != 1 or len(state) == 0:
        raise PDEConvError(f"A uniform state is one number a channel, (C,), but got a shape of {tuple(state.shape)}.")
    size = [checked_count("A symbol", "size", n) for n in size]
    return state.detach().cpu().double().reshape(1, -1, *(1,) * len(size)).repeat(1, 1, *size)


def _periodic(module: nn.Module) -> nn.Module:
    """A copy in float64 and evaluation whose terms lie on periodic grids."""
    copied = copy.deepcopy(module).cpu().double().eval().requires_grad_(False)
    for part in copied.modules():
        grid = getattr(part, "grid", None)
        if isinstance(grid, Grid):
            part.grid = replace(grid, boundary="periodic")  # pyright: ignore[reportArgumentType]
    for part in copied.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d) and part.padding_mode != "circular":
            part.padding_mode = "circular"  # its pads are known to the module in any mode
    return copied


def _symbol(function: Callable[[Tensor], Tensor], size: Sequence[int], state: Tensor) -> Tensor:
    """The Fourier transform of the response to one cell, of each channel."""
    linear = Linearised(function, state)
    axes = tuple(range(1, 1 + len(size)))
    columns = []
    for channel in range(state.shape[1]):
        impulse = torch.zeros_like(state)
        impulse[(0, channel, *(0,) * len(size))] = 1
        columns.append(torch.fft.fftn(linear(impulse)[0], dim=axes))
    symbol = torch.movedim(torch.stack(columns, -1), 0, -2)
    _require_same_everywhere(linear, symbol, torch.rand_like(state))
    return symbol


def _require_same_everywhere(linear: Linearised, symbol: Tensor, v: Tensor) -> None:
    """Raise unless the symbol tells what becomes of a random state, in which all cells take part."""
    axes = tuple(range(1, v.dim() - 1))
    waves = torch.movedim(torch.fft.fftn(v[0], dim=axes), 0, -1)
    told = torch.fft.ifftn(torch.movedim((symbol @ waves[..., None])[..., 0], -1, 0), dim=axes).real
    found = linear(v)[0]
    if not torch.allclose(told, found, rtol=1e-8, atol=1e-8 * max(1.0, float(found.abs().max()))):
        raise UnsupportedError(
            "A symbol needs an equation that is the same at all cells, but the response depends on the place; leave "
            "out what does, such as a coefficient given as an image."
        )
