"""The plain recurrent network that the forecasters by equations are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdeconv.errors import PDEConvError, checked_count
from pdeconv.models.classifier import checked_counts
from pdeconv.models.forecaster import Forecaster
from pdeconv.models.registry import register_model

Memory = list[tuple[Tensor, Tensor]]


@register_model("convlstm_forecaster")
class ConvLSTMForecaster(Forecaster[tuple[Tensor, Memory]]):
    """Forecasts frames by stacked convolutional LSTM cells, which know of no equation: the plain counterpart.

    A frame becomes patches, each patch the channels of one cell; a layer of cells gives its hidden state to the next,
    and a linear map makes the next frame of the last. Where a frame has not come, the forecast takes its place. Without
    peepholes; the forget gate begins at σ(1).

    Args:
        in_channels: Channels C of a frame.
        widths: Channels of the hidden state of each layer.
        patch: Side of a patch in pixels.
        kernel_size: Width of the kernels, odd.

    Raises:
        PDEConvError: If an argument is out of range, frames do not fit, or come at uneven times.

    References:
        X. Shi et al. Convolutional LSTM network: a machine learning approach for precipitation nowcasting. NeurIPS
        2015.

    Example:
        >>> ConvLSTMForecaster()(torch.rand(2, 4, 1, 16, 16), horizon=3).shape
        torch.Size([2, 3, 1, 16, 16])
    """

    def __init__(
        self, in_channels: int = 1, widths: Sequence[int] = (32, 32), patch: int = 4, kernel_size: int = 3
    ) -> None:
        super().__init__(in_channels, patch)
        self.widths = widths = checked_counts("convlstm_forecaster", "widths", widths)
        kernel_size = checked_count("convlstm_forecaster", "kernel_size", kernel_size, odd=True)
        before = (in_channels * patch**2, *widths[:-1])
        self.cells = nn.ModuleList(
            nn.Conv2d(shown + width, 4 * width, kernel_size, padding=kernel_size // 2)
            for shown, width in zip(before, widths, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], in_channels * patch**2, 1)

    def forward(
        self, frames: Tensor, horizon: int = 10, times: Tensor | None = None, all_frames: bool = False
    ) -> Tensor:
        if times is not None:
            raise PDEConvError("convlstm_forecaster knows of no time between frames; leave out times.")
        return super().forward(frames, horizon, None, all_frames)

    def advance(
        self, frame: Tensor | None, state: tuple[Tensor, Memory] | None, dt: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Memory]]:
        shown = frame if frame is not None or state is None else state[0]
        assert shown is not None
        u = functional.pixel_unshuffle(shown, self.patch)
        memories: Memory = []
        for number, cell in enumerate(self.cells):
            empty = u.new_zeros(len(u), self.widths[number], *u.shape[2:])
            hidden, memory = (empty, empty) if state is None else state[1][number]
            enters, forgets, leaves, new = cell(torch.cat((u, hidden), 1)).chunk(4, 1)
            memory = torch.sigmoid(forgets + 1) * memory + torch.sigmoid(enters) * torch.tanh(new)
            u = torch.sigmoid(leaves) * torch.tanh(memory)
            memories.append((u, memory))
        forecast = functional.pixel_shuffle(self.head(u), self.patch)
        return forecast, (forecast, memories)
