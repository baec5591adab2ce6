"""A forecast beside what came."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pdeconv.errors import PDEConvError
from pdeconv.viz.style import as_pixels, montage, show_picture, styled

COLUMNS = 8


@styled
def forecast_figure(given: Tensor, truth: Tensor, forecast: Tensor, title: str = "", smooth: bool = False) -> Figure:
    """Frames in a row: the last of those given, then some of those that came, above what was forecast for them.

    Args:
        given: (T, C, H, W) with values in [0, 1]; cells without a number are drawn black.
        truth: (horizon, C, H, W), the frames that came.
        forecast: of the same shape.
        title: over all.
        smooth: whether to smooth frames that are drawn small.

    Raises:
        PDEConvError: If the truth and the forecast differ in shape.
    """
    if truth.shape != forecast.shape:
        raise PDEConvError(
            f"expected a forecast of the shape of the truth, {tuple(truth.shape)}, got {tuple(forecast.shape)}"
        )
    horizon = len(truth)
    leads = sorted({round(place) for place in torch.linspace(1, horizon, min(COLUMNS - 1, horizon)).tolist()})
    height, width = truth.shape[-2:]
    side = 1.3
    size = side * (1 + len(leads)) * width / height + 0.2, 2 * (side + 0.3)
    figure = montage(*size, title)
    grid = figure.subplots(2, 1 + len(leads), squeeze=False)
    show_picture(grid[0, 0], as_pixels(given[-1].nan_to_num(0.0)), "last given", smooth)
    grid[1, 0].set_axis_off()
    for column, lead in enumerate(leads, 1):
        show_picture(grid[0, column], as_pixels(truth[lead - 1].nan_to_num(0.0)), f"+{lead}", smooth)
        show_picture(grid[1, column], as_pixels(forecast[lead - 1].nan_to_num(0.0)), "forecast", smooth)
    return figure
