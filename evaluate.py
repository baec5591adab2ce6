"""Use a trained network: measure it on its test set, denoise or fill in a picture, name its class, or forecast frames.

python evaluate.py runs/NAME
python evaluate.py runs/NAME --steps 8
python evaluate.py runs/NAME --image photo.jpg
python evaluate.py runs/NAME --image photo.jpg --add_noise 25
python evaluate.py runs/NAME --image photo.jpg --mask known.png
python evaluate.py runs/NAME --frames radar/today --horizon 12
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import nn

from pdeconv.allocator import keep_freed_memory
from pdeconv.denoising import takes_level
from pdeconv.errors import PDEConvError
from pdeconv.training.checkpoint import find_checkpoint
from pdeconv.training.command_line import parse, run_program
from pdeconv.training.config import TrainConfig, restored_config
from pdeconv.training.data import ARRAY_SETS, ARRAYS_IN_PYTHON, classifier_input, load_data
from pdeconv.training.evaluation import evaluate
from pdeconv.training.fingerprint import with_statistics
from pdeconv.training.frame_sequences import read_sequence
from pdeconv.training.image_files import read_image, write_image
from pdeconv.training.image_quality import quality
from pdeconv.training.network import network_of
from pdeconv.training.noise import EIGHT_BIT, noisy_test_image
from pdeconv.training.progress import Display, table
from pdeconv.training.tasks import create_task


@dataclass
class EvaluateConfig:
    """What to do with a checkpoint."""

    checkpoint: str
    """folder of a run, of which the best checkpoint is taken, or of a checkpoint"""
    image: str | None = None
    """an image file to denoise, to fill in or to classify; left out: the test set is measured"""
    add_noise: float | None = None
    """denoising an image: first add Gaussian noise of this standard deviation in 8-bit units"""
    mask: str | None = None
    """inpainting an image: a picture of the same size, white where the image is known and black in the holes"""
    frames: str | None = None
    """a folder of frames to go on from; the forecast frames are written, and an animation of all"""
    horizon: int | None = None
    """frames to forecast; left out: as many as in training"""
    output: str = "evaluated"
    """folder for the pictures"""
    weights: Literal["average", "plain"] = "average"
    """the running average of the weights, where the run kept one, or the weights themselves"""
    source: str | None = None
    """the file that registers the model, if it is not where it was in training (model.source)"""
    steps: int | None = None
    """time steps of each evolution, finer or coarser than in training (model.steps); of denoisers and inpainters whose
    steps are all of one length, a longer evolution or a shorter one; of a spiking network, more or fewer frames"""
    root: str | None = None
    """where the data is, if it is not where it was in training (data.root)"""
    test: str | None = None
    """folder of other test pictures for denoising, or the part of arrays, test or val (data.test)"""
    batch_size: int | None = None
    """test samples in one batch, where they are of one size; left out: 128, or for sequences as many as in training"""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise PDEConvError(f"steps: expected 1 or more, got {self.steps}")
        if self.batch_size is not None and self.batch_size < 1:
            raise PDEConvError(f"batch_size: expected 1 or more, got {self.batch_size}")
        if self.add_noise is not None and not self.add_noise >= 0:
            raise PDEConvError(f"add_noise: expected 0 or more, got {self.add_noise:g}")
        if self.add_noise is not None and self.image is None:
            raise PDEConvError("add_noise: give an --image to add it to; the test set has its own noise")
        if self.horizon is not None and self.horizon < 1:
            raise PDEConvError(f"horizon: expected 1 or more, got {self.horizon}")
        if self.horizon is not None and self.frames is None:
            raise PDEConvError("horizon: give --frames, a folder to go on from; the test set has its own horizon")
        if self.mask is not None and self.image is None:
            raise PDEConvError("mask: give an --image to fill in; the test set has its own masks")
        if Path(self.output).exists() and not Path(self.output).is_dir():
            raise PDEConvError(f"output: {self.output!r} is a file; give a folder")


def main(argv: Sequence[str]) -> int:
    """Evaluate as the command line says."""
    usage = "runs/NAME [--image FILE | --frames FOLDER] [--KEY VALUE ...]"
    if argv and not argv[0].startswith("-"):
        argv = ["--checkpoint", *argv]
    settings = parse(EvaluateConfig, argv, "evaluate.py", usage, "Measure or use a trained network.")
    checkpoint = find_checkpoint(Path(settings.checkpoint))
    config = restored_config(checkpoint.training["config"])
    classes = checkpoint.training["classes"]
    accelerator = Accelerator(mixed_precision=config.precision)
    if config.keep_freed_memory and accelerator.device.type == "cpu":
        keep_freed_memory()
    if settings.image is not None and config.data.name in ARRAY_SETS:
        raise PDEConvError(
            f"image: the run is of {config.data.name}, not of pictures; give arrays to its network: {ARRAYS_IN_PYTHON}"
        )
    network = network_of(checkpoint, settings.source, settings.steps)
    if settings.weights == "plain":
        network.load_state_dict(checkpoint.model)
    network = accelerator.prepare_model(network, evaluation_mode=True)
    config.data = with_statistics(config.data, checkpoint.training.get("data", {}))
    display = Display(total=1, step=0, visible=True, bar=False)
    with torch.no_grad():
        if config.task == "forecast" and settings.image is not None:
            raise PDEConvError("image: this network forecasts; give --frames, a folder")
        if config.task != "forecast" and settings.frames is not None:
            raise PDEConvError(f"frames: this network is of the task {config.task}; give an --image")
        if settings.frames is not None:
            forecast(settings, config, network, accelerator.device, display)
        elif settings.image is None:
            measure(settings, config, classes, network, accelerator, display)
        elif config.task == "denoising":
            denoise(settings, config, network, accelerator.device, display)
        elif config.task == "inpainting":
            inpaint(settings, config, network, accelerator.device, display)
        else:
            classify(settings, config, classes, network, accelerator.device, display)
    return 0


def measure(
    settings: EvaluateConfig,
    config: TrainConfig,
    classes: Sequence[str] | None,
    network: nn.Module,
    accelerator: Accelerator,
    display: Display,
) -> None:
    """The metrics on the test set, the pictures and the comparison that the run ended with."""
    places = {"root": settings.root, "test": settings.test}
    where = replace(config.data, **{key: place for key, place in places.items() if place is not None})
    if where.name == "frames" and settings.test is not None:
        where.root = None  # a folder for the test alone
    data = load_data(where, config.task, config.seed)
    if data.classes is not None and classes is not None:
        check_classes(data.classes, classes)
        data = replace(data, classes=tuple(classes))
    task = create_task(config, data)
    size = settings.batch_size or (config.batch_size if config.task == "forecast" else 128)
    metrics, summary = evaluate(task, network, data.test, accelerator, size)
    rows = [(name, f"{value:.4f}") for name, value in summary.items()]
    steps = "" if settings.steps is None else f", steps = {settings.steps},"
    display.show(table(f"{config.model.name}{steps} on {len(data.test)} test samples of {where.name}", rows))
    pictures = task.pictures(network, data, metrics, Path(settings.output), accelerator.device)
    report = task.report(network, data, accelerator.device)
    if report is not None:
        display.show(report)
    for path in pictures:
        display.say(str(path))


def check_classes(found: Sequence[str], trained: Sequence[str]) -> None:
    """Raise ``PDEConvError`` unless a label of the data means the class that it meant in training."""
    for number, name in enumerate(found):
        if number >= len(trained) or name != trained[number]:
            meant = repr(trained[number]) if number < len(trained) else "no class"
            raise PDEConvError(
                f"root: class {number} of the data is {name!r}, but was {meant} in training; give data with the "
                f"{len(trained)} classes of the training, in their order"
            )


def denoise(
    settings: EvaluateConfig, config: TrainConfig, network: nn.Module, device: torch.device, display: Display
) -> None:
    """Denoise one picture, and write it alone and beside what it was made from."""
    name, output = Path(settings.image or "").stem, Path(settings.output)
    given = read_image(settings.image or "", config.data.color)
    noisy = given if settings.add_noise is None else noisy_test_image(given[None], settings.add_noise, index=0)[0]
    told = {} if settings.add_noise is None or not takes_level(network) else {"sigma": settings.add_noise / EIGHT_BIT}
    denoised = network(noisy[None].to(device), **told)[0].float().cpu()
    pictures = {f"{name}_denoised.png": denoised, f"{name}_before_after.png": torch.cat((noisy, denoised), dim=-1)}
    if settings.add_noise is not None:
        before, after = (float(quality(image[None], given[None])[0]) for image in (noisy, denoised))
        display.say(f"noise of σ = {settings.add_noise:g}/255: PSNR {before:.2f} dB, denoised {after:.2f} dB")
        pictures[f"{name}_noisy.png"] = noisy
    for file, image in pictures.items():
        write_image(output / file, image)
        display.say(str(output / file))


def inpaint(
    settings: EvaluateConfig, config: TrainConfig, network: nn.Module, device: torch.device, display: Display
) -> None:
    """Fill the holes of one picture, and write it alone and beside what was known of it."""
    if settings.mask is None:
        raise PDEConvError("mask: this network fills holes; give a --mask, white where the image is known")
    if settings.add_noise is not None:
        raise PDEConvError("add_noise: this network fills holes; only a denoiser takes noise")
    name, output = Path(settings.image or "").stem, Path(settings.output)
    given, known = read_image(settings.image or "", config.data.color), read_image(settings.mask, "gray") > 0.5
    if given.shape[1:] != known.shape[1:]:
        sizes = (" x ".join(str(side) for side in image.shape[1:]) for image in (known, given))
        raise PDEConvError("mask: it has {} pixels, the image {}; give one of the same size".format(*sizes))
    masked = torch.where(known, given, 0.0)
    filled = network(masked[None].to(device), known[None].to(device))[0].float().cpu()
    pictures = {f"{name}_inpainted.png": filled, f"{name}_before_after.png": torch.cat((masked, filled), dim=-1)}
    for file, image in pictures.items():
        write_image(output / file, image)
        display.say(str(output / file))


def forecast(
    settings: EvaluateConfig, config: TrainConfig, network: nn.Module, device: torch.device, display: Display
) -> None:
    """Go on from the frames of a folder, and write the frames to come, and an animation of all."""
    from pdeconv.evolve import Trajectory
    from pdeconv.viz import animate

    folder, output = Path(settings.frames or ""), Path(settings.output)
    if output.resolve() == folder.resolve():
        raise PDEConvError(f"output: {output} holds the frames that are given, among which no others should come")
    given, horizon = read_sequence(config.data, folder), settings.horizon or config.data.horizon
    display.say(f"from the last {len(given)} frames of {folder}, {horizon} more")
    name = folder.resolve().name
    coming = network(given[None].to(device), horizon)[0].float().cpu().clamp(0, 1)
    for lead, frame in enumerate(coming, 1):
        path = output / f"{name}_+{lead:03}.png"
        write_image(path, frame)
        display.say(str(path))
    states = tuple(frame[None] for frame in torch.cat((given, coming)))
    times = torch.arange(float(len(states)))
    zoom = max(1, 256 // max(coming.shape[-2:]))
    display.say(str(animate(Trajectory(times, states), output / f"{name}.gif", zoom=zoom, seconds=len(states) / 8)))


def classify(
    settings: EvaluateConfig,
    config: TrainConfig,
    classes: Sequence[str],
    network: nn.Module,
    device: torch.device,
    display: Display,
) -> None:
    """Name the class of one picture, with the probabilities of the likeliest, and draw both."""
    from pdeconv.viz import classified_figure

    if settings.add_noise is not None:
        raise PDEConvError("add_noise: this network classifies; only a denoiser takes noise")
    image = read_image(settings.image or "", "rgb")
    probabilities = network(classifier_input(config.data, image).to(device))[0].float().softmax(0).cpu()
    likeliest = probabilities.topk(min(5, len(classes)))
    found = [(classes[int(place)], float(value)) for value, place in zip(*likeliest, strict=True)]
    display.show(table(f"{settings.image}: {found[0][0]}", [(name, f"{value:.1%}") for name, value in found]))
    path = Path(settings.output) / f"{Path(settings.image or '').stem}_class.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    classified_figure(image, found).savefig(path)
    display.say(str(path))


if __name__ == "__main__":
    run_program("evaluate.py", lambda: main(sys.argv[1:]))
