"""A recurrent cell whose state evolves by an equation between frames."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor, nn

from pdeconv.control import CFL, Control
from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.grid import check_state
from pdeconv.layers_by_dims import CONVOLUTION, checked_dims
from pdeconv.operator import per_sample
from pdeconv.steps import Step


class PDECell(nn.Module):
    """A recurrent cell, u_t = g(x, u) ⊙ (c(x, u) − u) + A(u)u for a frame x and the state u, over the time of a frame.

    A Lie step: first the source flows exactly towards c with g and c held, u + (1 − e^{−dt·g}) ⊙ (c − u), then ``step``
    takes the equation u_t = A(u)u over dt, in equal steps. The rate g = ceiling·σ(G∗[x, u]) is the gate, and
    c = tanh(C∗[x, u]). With A = 0 that is a gated recurrent unit without its reset, whose gate is 1 − e^{−dt·g}. A
    longer time between frames is a longer dt, of each sample by itself; without a frame the state evolves by the
    equation alone.

    Args:
        in_channels: Channels of a frame.
        channels: Channels of the state.
        step: Of the equation between frames, for example ``Euler(Diffusion(PerChannel(channels)))``; None for A = 0.
        longest: The longest time dt between frames, for which the number of steps is chosen.
        control: ``Fixed`` or ``CFL``; by default ``CFL()``.
        kernel_size: Width of the kernels of gate and candidate, odd.
        ceiling: Upper bound of the gate's rate, 1/time.
        dims: Number of spatial axes, 1 to 3.

    Keeps: The source keeps a state within [−1, 1] there, at any dt; so does the cell if ``step`` keeps the range.

    Raises:
        StabilityError: If a step of ``longest`` could be unstable.
        PDEConvError: If an argument is out of range, a frame does not fit the state, or dt lies outside 0 to
            ``longest``.

    References:
        K. Cho et al. Learning phrase representations using RNN encoder–decoder. EMNLP 2014 (the gated recurrent unit).
        R. T. Q. Chen et al. Neural ordinary differential equations. NeurIPS 2018; E. De Brouwer et al. GRU-ODE-Bayes.
        NeurIPS 2019 (states that evolve between observations).

    Example:
        >>> from pdeconv import Advection, ConvVelocity, Euler
        >>> cell = PDECell(1, 8, Euler(Advection(ConvVelocity(8, ceiling=0.4))))
        >>> state = None
        >>> for frame, dt in zip(torch.rand(3, 2, 1, 16, 16), (1.0, 0.5, 1.0)):
        ...     state = cell(frame, state, dt)
        >>> cell.evolve(state, dt=1.0).shape
        torch.Size([2, 8, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        step: Step | None = None,
        longest: float = 1.0,
        control: Control | None = None,
        kernel_size: int = 3,
        ceiling: float = 4.0,
        dims: int = 2,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.in_channels = checked_count(name, "in_channels", in_channels)
        self.channels = checked_count(name, "channels", channels)
        kernel_size = checked_count(name, "kernel_size", kernel_size, odd=True)
        if step is not None:
            checked_type(name, step, Step, "wrap a term as Euler(term)")
        control = CFL() if control is None else control
        checked_type(name, control, Control, "give for example CFL() or Fixed(4)")
        if not control.static:
            raise PDEConvError(f"{name} takes steps of the same length, by Fixed or CFL, but got {control}.")
        self.step, self.longest = step, checked_number(name, "longest", longest)
        self.ceiling, self.dims = checked_number(name, "ceiling", ceiling), checked_dims(name, dims)
        self.steps = 0 if step is None else control.count(step, self.longest)
        self.source = CONVOLUTION[self.dims](
            in_channels + channels, 2 * channels, kernel_size, padding=kernel_size // 2
        )

    def forward(self, frame: Tensor, state: Tensor | None = None, dt: float | Tensor = 1.0) -> Tensor:
        """The state after a frame and the time dt, (B, channels, *S).

        Args:
            frame: (B, in_channels, *S).
            state: (B, channels, *S); None for 0.
            dt: Time to the next frame, () or (B,), from 0 to ``longest``; on an accelerator the values of a tensor are
                not checked, as that would wait for it.
        """
        check_state(frame)
        if frame.dim() != 2 + self.dims or frame.shape[1] != self.in_channels:
            raise PDEConvError(
                f"PDECell needs frames of {self.in_channels} channels on {self.dims} axes, but got shape "
                f"{tuple(frame.shape)}; one frame at a time."
            )
        shape = (len(frame), self.channels, *frame.shape[2:])
        if state is None:
            state = frame.new_zeros(shape)
        checked_type("PDECell", state, Tensor, "the time goes by name, dt=0.5")
        if state.shape != shape:
            raise PDEConvError(f"PDECell needs a state of shape {shape}, but got {tuple(state.shape)}.")
        dt = self._checked(dt, state)
        gate, candidate = self.source(torch.cat((frame, state), 1)).chunk(2, 1)
        share = -torch.expm1(-self.ceiling * per_sample(dt, state) * torch.sigmoid(gate))
        return self._evolved(torch.lerp(state, torch.tanh(candidate).to(state.dtype), share.to(state.dtype)), dt)

    def evolve(self, state: Tensor, dt: float | Tensor = 1.0) -> Tensor:
        """The state after the time dt without a frame."""
        check_state(state)
        if state.dim() != 2 + self.dims or state.shape[1] != self.channels:
            raise PDEConvError(
                f"PDECell needs a state of {self.channels} channels on {self.dims} axes, but got shape "
                f"{tuple(state.shape)}."
            )
        return self._evolved(state, self._checked(dt, state))

    def _evolved(self, state: Tensor, dt: Tensor) -> Tensor:
        if self.step is None:
            return state
        for _ in range(self.steps):
            state = self.step(state, dt / self.steps)
        return state

    def _checked(self, dt: float | Tensor, state: Tensor) -> Tensor:
        """``dt`` as a tensor; the values of one that lies on an accelerator are not waited for."""
        wide = torch.promote_types(state.dtype, torch.float32)
        if isinstance(dt, Real) and not isinstance(dt, bool):
            right, given = 0 <= dt <= self.longest, f"{dt}"
            dt = torch.full((), float(dt), dtype=wide, device=state.device)
        elif isinstance(dt, Tensor):
            right, given = dt.shape in ((), (len(state),)), f"a tensor of shape {tuple(dt.shape)}"
            if right and dt.device.type == "cpu" and not torch.compiler.is_compiling():
                right = bool(((dt >= 0) & (dt <= self.longest)).all())
                given = given if right else f"{dt.detach().min():g} to {dt.detach().max():g}"
            dt = dt.to(state.device, wide)
        else:
            right, given = False, repr(dt)
        if not right or not isinstance(dt, Tensor):
            raise PDEConvError(
                f"PDECell needs a time dt from 0 to longest={self.longest:g}, a number or one for each of the "
                f"{len(state)} samples, but got {given}; give the cell a larger longest."
            )
        return dt

    def extra_repr(self) -> str:
        equation = "A=0" if self.step is None else f"{self.step.name}, steps={self.steps}"
        return f"{equation}, longest={self.longest:g}, ceiling={self.ceiling:g}"
