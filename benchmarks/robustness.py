"""Accuracy of classifiers on CIFAR-10's test images that are noisy, blurred, pale or compressed, at five strengths.

python benchmarks/robustness.py --root FOLDER_OF_CIFAR-10 runs/A runs/B … [--output robustness.png] [--limit 1000]

A classifier is the folder of a run or a checkpoint of train.py, or a name for which weights come with pdeconv. Runs of
several seeds are one line of the plot and of the table, their mean, as ``TITLE=runs/A_0,runs/A_1``. Of a run its best
checkpoint is taken, which these very test images chose: for a fair figure give the last checkpoint, or a run that was
tested at its end alone, as those of benchmarks/small_data.py. The images are made here, always the same: pixels of
[0, 1] are changed, clipped, and rounded to bytes. The strengths are those of Hendrycks & Dietterich's CIFAR-10-C; their
random numbers, and their edges of a blur, are others.

noise     Gaussian, of standard deviation 0.04, 0.06, 0.08, 0.09, 0.10;
blur      Gaussian, of standard deviation 0.4, 0.6, 0.7, 0.8, 1 pixels;
contrast  distances from the mean of each channel, times 0.75, 0.5, 0.4, 0.3, 0.15;
JPEG      at quality 80, 65, 58, 50, 40.

References:
    D. Hendrycks, T. Dietterich. Benchmarking neural network robustness to common corruptions and perturbations.
    ICLR 2019.
"""

import argparse
import io
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pdeconv.allocator import keep_freed_memory
from pdeconv.classify_files import trained_classifier
from pdeconv.classifying import ImageClassifier, pretrained_classifier
from pdeconv.image_square import in_color, normalised
from pdeconv.models import list_models
from pdeconv.training.data import load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.labelled_images import LabelledImages

BATCH = 250


def noisy(images: Tensor, deviation: float, first: int) -> Tensor:
    """Gaussian noise, of each image by its number alone."""
    generators = [torch.Generator().manual_seed(first + place) for place in range(len(images))]
    return images + deviation * torch.stack([torch.randn(images.shape[1:], generator=g) for g in generators])


def blurred(images: Tensor, deviation: float, _: int) -> Tensor:
    """Gaussian blur with mirrored edges."""
    places = torch.arange(-6, 7.0)
    kernel = torch.exp(-places.square() / (2 * deviation**2))
    kernel, channels = kernel / kernel.sum(), images.shape[1]
    wide = F.pad(images, (6, 6, 6, 6), mode="reflect")
    rows = F.conv2d(wide, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def paled(images: Tensor, share: float, _: int) -> Tensor:
    """Less contrast."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + share * (images - mean)


def compressed(images: Tensor, quality: float, _: int) -> Tensor:
    """JPEG and back."""
    made = []
    for image in images:
        file = io.BytesIO()
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        made.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255)
    return torch.stack(made)


CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float, int], Tensor], tuple[float, ...]]] = {
    "noise": (noisy, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "blur": (blurred, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "contrast": (paled, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "JPEG": (compressed, (80, 65, 58, 50, 40)),
}


def test_images(root: str, limit: int | None = None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """CIFAR-10's test images in [0, 1], their labels, and the names of the classes."""
    data = load_data(DataConfig("cifar10", root=root), "classification", 0)
    assert isinstance(data.test, LabelledImages) and isinstance(data.test.pixels, Tensor)
    return data.test.pixels[:limit].float() / 255, data.test.labels[:limit], data.classes or ()


def accuracy(classifier: ImageClassifier, images: Tensor, labels: Tensor) -> float:
    """In percent."""
    device = next(classifier.network.parameters()).device
    network, right = classifier.network.to(memory_format=torch.channels_last), 0  # pyright: ignore[reportCallIssue]
    with torch.no_grad():
        for some, names in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            channels = len(classifier.statistics[0])
            some = torch.stack([in_color(image, channels) for image in some])
            some = normalised(some, 1.0, classifier.statistics).contiguous(memory_format=torch.channels_last)
            logits = network(some.to(device))
            right += int((logits.argmax(1).cpu() == names).sum())
    return 100 * right / len(labels)


def titled(text: str) -> tuple[str, list[str]]:
    """The title and the runs of ``TITLE=RUN,RUN``; a path, with or without ``=``, is its own title."""
    title, equals, runs = text.partition("=")
    return (title, runs.split(",")) if equals and not Path(text).exists() else (text, [text])


def loaded(name: str, classes: Sequence[str]) -> ImageClassifier:
    """The classifier of a run, a checkpoint or a name."""
    known = name in list_models() and not Path(name).exists()
    classifier = pretrained_classifier(name) if known else trained_classifier(Path(name))
    if classifier.classes != tuple(classes) or classifier.size != 32:
        raise SystemExit(f"robustness.py: {name} does not name the classes of CIFAR-10 on 32 x 32 pixels")
    return classifier


def draw(results: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Accuracy over the strength, a figure for each corruption, a line for each classifier."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(CORRUPTIONS), 3.4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(CORRUPTIONS), sharey=True), CORRUPTIONS, strict=True):
        for name, found in results.items():
            axes.plot(range(6), [found["clean"][0], *found[kind]], marker="o", markersize=3, label=name)
        axes.set_title(kind)
        axes.set_xlabel("strength")
        axes.grid(axis="y", linewidth=0.4)
    figure.axes[0].set_ylabel("accuracy, %")
    figure.axes[0].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifiers", nargs="+", help="folders, names of models with weights, or TITLE=FOLDER,FOLDER")
    parser.add_argument("--root", required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--output", default="robustness.png", help="the plot")
    parser.add_argument("--limit", type=int, help="so many of the test images, for a smoke test")
    options = parser.parse_args()
    keep_freed_memory()  # with channels_last, a third of the time on a CPU
    images, labels, classes = test_images(options.root, options.limit)
    seeds = dict(titled(text) for text in options.classifiers)
    classifiers = {name: [loaded(run, classes) for run in runs] for name, runs in seeds.items()}
    results: dict[str, dict[str, list[float]]] = {name: {} for name in classifiers}

    def test(kind: str, images: Tensor) -> None:
        for name, several in classifiers.items():
            mean = statistics.mean(accuracy(classifier, images, labels) for classifier in several)
            results[name].setdefault(kind, []).append(mean)

    test("clean", images)
    for kind, (change, strengths) in CORRUPTIONS.items():
        for strength in strengths:
            parts = [change(part, strength, BATCH * place) for place, part in enumerate(images.split(BATCH))]
            test(kind, (torch.cat(parts).clamp(0, 1) * 255).round() / 255)
        print(f"{kind}: done", flush=True)
    print(f"\nAccuracy on {len(labels):,} test images, %: at the five strengths, and their mean\n")
    print("| classifier | clean | " + " | ".join(CORRUPTIONS) + " | mean |")
    print("|---|---|" + "---|" * (len(CORRUPTIONS) + 1))
    for name, found in results.items():
        parts = [found[kind] for kind in CORRUPTIONS]
        cells = [" ".join(f"{value:.1f}" for value in part) + f"; {statistics.mean(part):.1f}" for part in parts]
        mean = statistics.mean(value for part in parts for value in part)
        print(f"| {name} | {found['clean'][0]:.2f} | " + " | ".join(cells) + f" | {mean:.2f} |")
    draw(results, Path(options.output))
    print(f"\n{options.output}")


if __name__ == "__main__":
    main()
