"""Attention and spiking neurons against plain networks of as many parameters, on Fashion-MNIST by the same recipe.

python benchmarks/attention_and_spikes.py --root FOLDER_OF_Fashion-MNIST --runs FOLDER [--epochs 5] [--seeds 3]

attention  ``attention_classifier`` by configs/classify/fashion_mnist_attention.yaml, against ``resnet_classifier``;
spikes     ``spiking_classifier`` by configs/classify/fashion_mnist_spiking.yaml, against the same convolutions with
           ReLU in place of the neurons, to which an image is shown once: benchmarks/rectified_network.py.

Parameters are equal to 1 %, and so is all of the recipe. Accuracies are those after the last epoch, mean and range over
the seeds; the time of an image is the processor's in inference in batches of 100, on one thread, measured in
alternation. A machine made for spikes computes only where there are some: so those of a neuron and frame are printed
too, the mean over the test images; and the accuracy where each image is shown for twice as many frames as in training.
Runs are kept in ``--runs``: a benchmark that was interrupted goes on where it stopped.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from contenders import Contender, trained
from speed_rows.pairing import Patience, alternate, summarise
from torch import Tensor, nn
from training_runs import last_network

from pdeconv.models.spiking_classifier import Neurons
from pdeconv.training.config import DataConfig
from pdeconv.training.data import load_data

ATTENTION, SPIKING = (f"configs/classify/fashion_mnist_{name}.yaml" for name in ("attention", "spiking"))
RECTIFIED = {
    "model.name": "rectified_network",
    "model.source": "benchmarks/rectified_network.py",
    "model.steps": "null",
}
RESNET = {"model.name": "resnet_classifier", "model.widths": [16, 21, 72], "model.depths": [0, 1, 1]}
SHAPE, BATCH = (1, 28, 28), 100
SPIKES = Contender("spikes", SPIKING)
PAIRS = (
    (Contender("attention", ATTENTION), Contender("plain ResNet", ATTENTION, RESNET)),
    (SPIKES, Contender("ReLU in place of spikes", SPIKING, RECTIFIED)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--runs", required=True, help="folder of the runs")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-images", type=int, help="of a smoke test; by default all")
    given = parser.parse_args()
    keys = {"data.root": given.root, "epochs": given.epochs}
    if given.train_images is not None:
        keys["data.train_images"] = given.train_images
    contenders = [contender for pair in PAIRS for contender in pair]
    runs = trained(contenders, Path(given.runs), given.seeds, keys)
    times = milliseconds([contender.network(SHAPE[0]) for contender in contenders], Patience())
    print(f"{given.epochs} epochs, {given.seeds} seeds; top-1 in %, mean (least to most)")
    for contender, each in zip(contenders, times, strict=True):
        print(f"{contender.row(runs[contender.title], SHAPE)}  {each:.3f} ms an image")
    images, labels = test_set(given.root)
    rates = [firing_rate(last_network(run), images) for run in runs[SPIKES.title]]
    print(f"spikes of a neuron and frame: {statistics.mean(rates):.3f} ({min(rates):.3f} to {max(rates):.3f})")
    frames = 2 * SPIKES.network(SHAPE[0]).frames  # pyright: ignore[reportOperatorIssue]
    found = [top1(last_network(run, steps=frames), images, labels) for run in runs[SPIKES.title]]
    print(f"spikes, {frames} frames in the test: {statistics.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})")


@torch.no_grad()
def milliseconds(networks: list[nn.Module], patience: Patience) -> list[float]:
    """The processor's time of inference of an image by each, the median."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images = torch.rand(BATCH, *SHAPE)
    calls = [partial(network.eval(), images) for network in networks]
    found = [1e3 * summarise(seconds).median / BATCH for seconds in alternate(calls, patience, time.process_time)]
    torch.set_num_threads(threads)
    return found


@torch.no_grad()
def firing_rate(network: nn.Module, images: Tensor) -> float:
    """Spikes of a neuron and frame, the mean over all neurons of the network."""
    spikes, places = 0.0, 0

    def count(_: nn.Module, __: tuple[Tensor, ...], fired: Tensor) -> None:
        nonlocal spikes, places
        spikes, places = spikes + float(fired.sum()), places + fired.numel()

    for neurons in (part for part in network.modules() if isinstance(part, Neurons)):
        neurons.register_forward_hook(count)
    for batch in images.split(BATCH):
        network(batch)
    return spikes / places


@torch.no_grad()
def top1(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Images whose largest logit is that of their class, in %."""
    named = torch.cat([network(batch).argmax(1) for batch in images.split(BATCH)])
    return 100 * float((named == labels).double().mean())


def test_set(root: str) -> tuple[Tensor, Tensor]:
    """The images of Fashion-MNIST, as networks get them, and their labels."""
    test = load_data(DataConfig("fashion_mnist", root=root), "classification", 0).test
    return test.batch(torch.arange(len(test)), 0)


if __name__ == "__main__":
    main()
