"""Say whether a network is stable, why, and what to do, and what its kernels do to an image.

python -m pdeconv report runs/NAME photo.jpg
python -m pdeconv report torchvision:resnet18 photo.jpg --weights resnet18.pth
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pdeconv.training.command_line import parse

PROGRAM = "python -m pdeconv report"


@dataclass
class ReportConfig:
    """What to report on."""

    network: str
    """folder of a run or a checkpoint of train.py, a model whose weights come with pdeconv, or torchvision:NAME"""
    image: str
    """a picture, at whose states the network is looked at"""
    weights: str | None = None
    """of a network of torchvision: a file, or a name such as DEFAULT; left out: random ones"""
    sigma: float = 25.0
    """noise that is added to the picture for a denoiser, in 8-bit units"""


def main(argv: Sequence[str]) -> int:
    """Print the report that the command line asks for."""
    usage = "NETWORK IMAGE [--weights FILE]"
    settings = parse(ReportConfig, argv, PROGRAM, usage, str(__doc__).splitlines()[0], positional=True)
    from pdeconv.analysis import report
    from pdeconv.subject import subject_of
    from pdeconv.training.image_files import read_image

    picture = read_image(settings.image, "rgb")
    subject = subject_of(settings.network, settings.weights, settings.sigma)
    print(report(subject.network, subject.prepare(picture)[0]))
    return 0
