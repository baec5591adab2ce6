"""Write a page to look into a network: its feature maps in depth and time, its equations, its stability.

python -m pdeconv explore runs/NAME photo.jpg -o page.html
python -m pdeconv explore torchvision:resnet18 photo.jpg --weights resnet18.pth
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdeconv.errors import PDEConvError
from pdeconv.training.command_line import parse

PROGRAM = "python -m pdeconv explore"


@dataclass
class ExploreConfig:
    """What to look into."""

    network: str
    """folder of a run or a checkpoint of train.py, a model whose weights come with pdeconv, or torchvision:NAME"""
    image: str
    """a picture"""
    output: str = "explore.html"
    """the page to write; -o for short"""
    weights: str | None = None
    """of a network of torchvision: a file, or a name such as DEFAULT; left out: random ones"""
    sigma: float = 25.0
    """noise that is added to the picture for a denoiser, in 8-bit units"""
    overwrite: bool = False
    """replace a page that exists"""

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 255:
            raise PDEConvError(f"sigma: expected 0 to 255, in 8-bit units, got {self.sigma:g}")
        if Path(self.output).suffix.lower() not in (".html", ".htm"):
            raise PDEConvError(f"output: expected a file that ends in .html, got {self.output!r}")


def main(argv: Sequence[str]) -> int:
    """Write the page that the command line asks for."""
    argv = ["--output" if argument == "-o" else argument for argument in argv]
    usage = "NETWORK IMAGE [-o PAGE.html] [--KEY VALUE ...]"
    settings = parse(ExploreConfig, argv, PROGRAM, usage, str(__doc__).splitlines()[0], positional=True)
    path = Path(settings.output)
    if path.exists() and not settings.overwrite:
        raise PDEConvError(f"output: {settings.output!r} exists; give another name, or --overwrite true")
    from pdeconv.subject import subject_of
    from pdeconv.training.image_files import read_image
    from pdeconv.viz.explorer import write_explorer

    picture = read_image(settings.image, "rgb")
    subject = subject_of(settings.network, settings.weights, settings.sigma)
    example, shown = subject.prepare(picture)
    write_explorer(path, subject.network, example, shown, subject.classes, subject.title)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return 0
