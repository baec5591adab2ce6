"""Split the kernels of a network into the derivatives that they are made of: where it mixes, carries, blurs, sharpens.

python -m pdeconv decompose runs/NAME --figure kernels.png
python -m pdeconv decompose torchvision:resnet18 --weights resnet18.pth
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdeconv.errors import PDEConvError
from pdeconv.training.command_line import parse

PROGRAM = "python -m pdeconv decompose"


@dataclass
class DecomposeConfig:
    """What to split."""

    network: str
    """folder of a run or a checkpoint of train.py, a model whose weights come with pdeconv, or torchvision:NAME"""
    weights: str | None = None
    """of a network of torchvision: a file, or a name such as DEFAULT; left out: random ones"""
    figure: str | None = None
    """a picture of the table to write as well, such as kernels.png"""
    overwrite: bool = False
    """replace a picture that exists"""

    def __post_init__(self) -> None:
        if self.figure is not None and Path(self.figure).suffix.lower() not in (".png", ".pdf", ".svg"):
            raise PDEConvError(f"figure: expected a file that ends in .png, .pdf or .svg, got {self.figure!r}")


def main(argv: Sequence[str]) -> int:
    """Print the table that the command line asks for."""
    usage = "NETWORK [--figure FILE.png] [--weights FILE]"
    settings = parse(DecomposeConfig, argv, PROGRAM, usage, str(__doc__).splitlines()[0], positional=True)
    if settings.figure is not None and Path(settings.figure).exists() and not settings.overwrite:
        raise PDEConvError(f"figure: {settings.figure!r} exists; give another name, or --overwrite true")
    from pdeconv.analysis import decompose
    from pdeconv.subject import subject_of

    subject = subject_of(settings.network, settings.weights)
    found = decompose(subject.network)
    print(found)
    if settings.figure is not None:
        from pdeconv.viz import decomposition_figure

        Path(settings.figure).parent.mkdir(parents=True, exist_ok=True)
        decomposition_figure(found, subject.title).savefig(settings.figure)
        print(settings.figure)
    return 0
