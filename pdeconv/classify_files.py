"""Name what pictures show, or all pictures in a folder.

python -m pdeconv classify photo.jpg
python -m pdeconv classify pictures/ more.png --run runs/NAME --top 3
"""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Column, Table

from pdeconv.classifying import ImageClassifier, Likeliest, pretrained_classifier
from pdeconv.errors import PDEConvError
from pdeconv.training.command_line import parse, valid_keys
from pdeconv.training.image_files import list_images, read_image

PROGRAM = "python -m pdeconv classify"


@dataclass
class ClassifyConfig:
    """What to classify, and how."""

    images: list[str] = field(default_factory=list)
    """pictures, or folders of pictures, searched recursively; given without the name of the key, one after the other"""
    model: str | None = None
    """name of a model whose weights come with pdeconv; left out: the best one"""
    run: str | None = None
    """folder of a run or a checkpoint of train.py, to use in place of a network that comes with pdeconv"""
    source: str | None = None
    """Python file that registers the model of the run, if it is not where it was in training"""
    top: int = 3
    """how many of the likeliest classes to show"""
    json: bool = False
    """for programs: one line of JSON a picture"""

    def __post_init__(self) -> None:
        if not self.images:
            raise PDEConvError("missing: a picture, or a folder of pictures")
        if self.top < 1:
            raise PDEConvError(f"top: expected 1 or more, got {self.top}")
        if self.model is not None and self.run is not None:
            raise PDEConvError("model and run: give one of them")
        if self.source is not None and self.run is None:
            raise PDEConvError("source: is of the model of a run; give run too")


def main(argv: Sequence[str]) -> int:
    """Classify as the command line says; 1 if a picture could not be."""
    usage = "IMAGE... [--top K] [--model NAME | --run FOLDER [--source FILE]] [--json]"
    settings = parse(ClassifyConfig, _with_key(argv), PROGRAM, usage, str(__doc__).splitlines()[0])
    Image.MAX_IMAGE_PIXELS = None  # a large scan is no attack
    warnings.filterwarnings("ignore", module="PIL")  # of a file that is damaged a little; damaged more it raises
    paths = [path for given in settings.images for path in _pictures(Path(given))]
    if settings.run is None:
        classifier = pretrained_classifier(settings.model)
    else:
        classifier = trained_classifier(Path(settings.run), settings.source)
    failed, console = 0, Console(highlight=False, soft_wrap=True)
    table = Table(Column("picture", overflow="fold"), Column("class", overflow="fold"), "probability")
    for path in paths:
        try:
            found = classifier.likeliest(read_image(path, "rgb"), settings.top)
        except PDEConvError as error:
            failed += 1
            print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            continue
        if settings.json:
            classes = [{"class": name, "probability": value} for name, value in found]
            print(json.dumps({"picture": str(path), "classes": classes}, ensure_ascii=False), flush=True)
        elif console.is_terminal:
            for row in _rows(str(path), found):
                table.add_row(*row)
        else:
            print(f"{path}: " + ", ".join(f"{name} {value:.1%}" for name, value in found), flush=True)
    if table.row_count:
        console.print(table)
    return 1 if failed else 0


def trained_classifier(folder: Path, source: str | None = None) -> ImageClassifier:
    """The network of a run of train.py, with the average of its weights where there is one."""
    from pdeconv.training.checkpoint import find_checkpoint
    from pdeconv.training.config import restored_config
    from pdeconv.training.data import classifier_format
    from pdeconv.training.network import network_of

    checkpoint = find_checkpoint(folder)
    config = restored_config(checkpoint.training["config"])
    if config.task != "classification":
        raise PDEConvError(f"run: the network in {str(folder)!r} was trained for {config.task}, not for classification")
    network = network_of(checkpoint, source).to("cuda" if torch.cuda.is_available() else "cpu")
    return ImageClassifier(network, tuple(checkpoint.training["classes"]), *classifier_format(config.data))


def _pictures(path: Path) -> list[Path]:
    if path.is_dir():
        return list_images(path)
    if not path.exists():
        raise PDEConvError(f"no file or folder at {str(path)!r}")
    return [path]


def _rows(picture: str, found: Likeliest) -> Iterator[tuple[str, str, str]]:
    """Rows of a table, the first of which names the picture. What the names hold is no markup."""
    from rich.markup import escape

    for place, (name, value) in enumerate(found):
        yield escape(picture) if place == 0 else "", escape(name), f"{value:.1%}"


def _with_key(argv: Sequence[str]) -> list[str]:
    """``argv`` with what has no name, the pictures, gathered under their key; after ``--`` all is pictures."""
    flags = {f"--{key}" for key, kind in valid_keys(ClassifyConfig).items() if kind is bool} | {"--help", "-h"}
    pictures, options, rest = [], [], list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            pictures, rest = pictures + rest, []
        elif not argument.startswith("-") or argument == "-":
            pictures.append(argument)
        else:
            options.append(argument)
            valued = argument in flags and rest[:1] in (["true"], ["false"])
            if rest and "=" not in argument and (valued or argument not in flags):
                options.append(rest.pop(0))
    return [*options, "--images", json.dumps(pictures)] if pictures else options
