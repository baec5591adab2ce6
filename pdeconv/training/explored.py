"""The page to look into a network, at the end of its training."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from pdeconv.errors import PDEConvError


def explored(
    path: Path, model: nn.Module, example: Tensor, picture: Tensor, classes: Sequence[str] | None, title: str
) -> list[Path]:
    """Write the page, and return its path; nothing for a network that cannot be shown, which is no reason to fail.

    Args:
        path: of the page.
        model: in evaluation.
        example: (1, C, H, W), on the device of the model.
        picture: the same in [0, 1].
        classes: as of ``pdeconv.viz.explorer_page``.
        title: of the page.
    """
    from pdeconv.viz import write_explorer

    try:
        return [write_explorer(path, model, example, picture, classes, title)]
    except (PDEConvError, RuntimeError, TypeError) as error:
        warnings.warn(f"{path.name} was not written: {error}", stacklevel=2)
        return []
