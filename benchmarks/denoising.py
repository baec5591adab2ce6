"""Quality, size and time of denoisers beside classical filters: the table and the picture of docs/denoising.md.

python benchmarks/denoising.py --bsd68 FOLDER --set12 FOLDER [--run NAME=runs/NAME ...] [--only PATTERN]

White Gaussian noise of σ = 15, 25, 50 in 8-bit units, not clipped, drawn from the number of the picture and σ alone;
the mean PSNR over the pictures of a set. The networks that come with pdeconv and those of the runs named, on BSD68,
Set12 and, in colour, CBSD68; classical filters on the sets of ``--classical``, as they are slow. All get the same
noisy pictures. Networks and BM3D are told σ. Total variation, non-local means and wavelets (scikit-image) choose the
strength that is best for each picture, by looking at the clean one. Multiply-adds are those of convolutions and
products, for a pixel. Time is that of one picture of 1024 x 1024 in float32, the median of ``--repeats``, on a
machine that is otherwise idle; that of the classical filters is measured once.

Figures are kept in ``--results`` as they come, with digests of the weights and the pictures that they are of: an
interrupted run goes on where it stopped, and what has changed is measured anew. Delete the file when the code has.

BM3D is the package ``bm3d`` (extra ``benchmark``), if it is installed; its licence allows research and not-for-profit
use only.
"""

import argparse
import fnmatch
import hashlib
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pdeconv import create_model, denoise, list_pretrained
from pdeconv.denoising import SYMMETRIES
from pdeconv.training.baselines import classical_filter, classical_filters
from pdeconv.training.image_files import list_images, read_image
from pdeconv.training.image_quality import quality
from pdeconv.training.network import trained_network
from pdeconv.training.noise import EIGHT_BIT, noisy_test_image

SIGMAS = (15, 25, 50)
CLASSICAL = ("wavelet", "total variation", "non-local means")


@dataclass(frozen=True)
class Method:
    """A denoiser: (1, 1, H, W) and σ in 8-bit units in, the same shape out."""

    name: str
    apply: Callable[[Tensor, float], Tensor]
    network: nn.Module | None = None

    @property
    def weights(self) -> str:
        """A digest of the weights, which figures depend on."""
        return "" if self.network is None else digest(self.network.state_dict().values())


def digest(tensors: Iterable[Tensor]) -> str:
    found = hashlib.sha256()
    for value in tensors:
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


def networks(runs: dict[str, str]) -> Iterator[Method]:
    for name, channels in list_pretrained():
        if channels == 1:
            model = create_model(name, pretrained=True, in_channels=1)
            yield of_network(name, model)
            if name.endswith("large"):
                yield of_network(f"{name}, self_ensemble", model, self_ensemble=True)
    for name, folder in runs.items():
        yield of_network(name, trained_network(folder))


def of_network(name: str, network: nn.Module, self_ensemble: bool = False) -> Method:
    network.eval()

    def apply(noisy: Tensor, sigma: float) -> Tensor:
        options = {"model": network, "self_ensemble": self_ensemble}
        return denoise(noisy, sigma / EIGHT_BIT, channel_axis=1, data_range=1.0, **options)

    return Method(name, apply, network)


def bm3d_method() -> Method:
    import bm3d  # pyright: ignore[reportMissingImports]

    def apply(noisy: Tensor, sigma: float) -> Tensor:
        return torch.from_numpy(bm3d.bm3d(noisy[0, 0].numpy(), sigma / EIGHT_BIT))[None, None].to(noisy)

    return Method("BM3D", apply)


def images_of(folder: str, color: Literal["gray", "rgb"] = "gray") -> list[Tensor]:
    return [read_image(path, color)[None] for path in list_images(Path(folder))]


def mean_psnr(method: Method, clean: list[Tensor], sigma: float) -> float:
    scores = []
    with torch.no_grad():
        for index, image in enumerate(clean):
            scores.append(float(quality(method.apply(noisy_test_image(image, sigma, index), sigma), image)[0]))
    return statistics.mean(scores)


def tuned_psnr(clean: list[Tensor], sigma: float) -> dict[str, float]:
    noisy = [noisy_test_image(image, sigma, index)[0] for index, image in enumerate(clean)]
    found = classical_filters([image[0] for image in clean], noisy, sigma)
    return {name: statistics.mean(score.psnr for score in scores) for name, scores in found.items()}


def machine() -> str:
    return f"{torch.get_num_threads()} threads, torch {torch.__version__}"


def seconds_a_megapixel(method: Method, repeats: int) -> float:
    noisy = noisy_test_image(torch.rand(1, 1, 1024, 1024, generator=torch.manual_seed(0)), 25, 0)
    took = []
    with torch.no_grad():
        for _ in range(repeats + (repeats > 1)):
            start = time.perf_counter()
            method.apply(noisy, 25)
            took.append(time.perf_counter() - start)
    return statistics.median(took[1:] or took) / 1.048576


def multiply_adds_a_pixel(network: nn.Module) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.rand(1, 1, 512, 512), 0.1)
    return counter.get_total_flops() / 2 / 512**2


class Results:
    """Figures by method and name, one JSON object a line: kept as they come, with what they are figures of."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.of = path, {}, {}
        for line in path.read_text().splitlines() if path.exists() else ():
            row = json.loads(line)
            self._put(row["method"], row["figure"], row["value"], row.get("of"))

    def lacks(self, method: str, figure: str, of: str) -> bool:
        return self.of.get((method, figure)) != of

    def want(self, method: str, figure: str, of: str, measure: Callable[[], float]) -> None:
        if self.lacks(method, figure, of):
            self.keep(method, figure, measure(), of)

    def keep(self, method: str, figure: str, value: float, of: str) -> None:
        self._put(method, figure, value, of)
        with self.path.open("a") as file:
            file.write(json.dumps({"method": method, "figure": figure, "value": value, "of": of}) + "\n")
        print(f"{method:52} {figure:16} {value:.4g}", flush=True)

    def _put(self, method: str, figure: str, value: float, of: str | None) -> None:
        self.rows.setdefault(method, {})[figure] = value
        self.of[method, figure] = of


def measure_tuned(sets: dict[str, list[Tensor]], timed: bool, results: Results) -> None:
    """The classical filters of scikit-image."""
    for place, clean in sets.items():
        for sigma in SIGMAS:
            figure, of = f"{place} {sigma}", digest(clean)
            if any(results.lacks(method, figure, of) for method in CLASSICAL):
                for method, value in tuned_psnr(clean, sigma).items():
                    results.keep(method, figure, value, of)
    for method in CLASSICAL if timed else ():
        once = Method(method, lambda noisy, sigma, m=method: classical_filter(m, noisy[0], sigma)[None])
        results.want(method, "time", machine(), lambda m=once: seconds_a_megapixel(m, repeats=1))


def markdown(rows: dict[str, dict[str, float]], sets: list[str]) -> str:
    heads = [f"{name} σ = {sigma}" for name in sets for sigma in SIGMAS]
    lines = ["| method | parameters | multiply-adds a pixel | s a megapixel | " + " | ".join(heads) + " |"]
    lines.append("|:--|" + "--:|" * (3 + len(heads)))
    for name, row in sorted(rows.items(), key=lambda pair: pair[1].get("Set12 25", 0.0)):
        cells = [f"{row[key]:,.0f}" if key in row else "" for key in ("parameters", "multiply-adds")]
        cells.append(f"{row['time']:.2f}" if "time" in row else "")
        cells += [f"{row[f'{s} {sigma}']:.2f}" if f"{s} {sigma}" in row else "" for s in sets for sigma in SIGMAS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: dict[str, dict[str, float]], path: Path) -> None:
    """PSNR at σ = 25 on Set12 against time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    for name, row in rows.items():
        if "time" not in row or "Set12 25" not in row:
            continue
        name = name.replace("multiscale_denoiser_", "multiscale ").replace(", self_ensemble", ",\nself-ensemble")
        network = "parameters" in row
        color = "#1769aa" if network else "#777777"
        axes.plot(row["time"], row["Set12 25"], "o" if network else "s", color=color)
        label = f"{name}\n{row['parameters'] / 1000:.1f} thousand parameters" if network else name
        axes.annotate(label, (row["time"], row["Set12 25"]), (6, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set(xlabel="seconds a megapixel on 2 CPU cores", ylabel="mean PSNR on Set12, σ = 25 (dB)")
    axes.margins(x=0.25, y=0.2)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bsd68", required=True, help="folder of the 68 gray test pictures of BSD")
    parser.add_argument("--set12", help="folder of the 12 classic ones")
    parser.add_argument("--cbsd68", help="folder of the first ones in colour, for the networks alone")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=FOLDER", help="a run of train.py")
    parser.add_argument("--only", default="*", help="wildcard pattern of the methods to measure; all are shown")
    parser.add_argument("--classical", nargs="*", default=[], metavar="SET", help="sets for the classical filters, too")
    parser.add_argument("--repeats", type=int, default=5, help="timings; 0 times nothing")
    parser.add_argument("--results", default="denoising_results.jsonl", help="file of the figures so far")
    parser.add_argument("--picture", help="PNG file of PSNR against time")
    options = parser.parse_args()
    sets = {"BSD68": images_of(options.bsd68)} | ({"Set12": images_of(options.set12)} if options.set12 else {})
    colour = {"CBSD68": images_of(options.cbsd68, "rgb")} if options.cbsd68 else {}
    classical = {place: sets[place] for place in options.classical}
    results = Results(Path(options.results))
    methods = [*networks(dict(run.split("=", 1) for run in options.run))]
    if classical and importlib.util.find_spec("bm3d"):
        methods.append(bm3d_method())
    for method in methods:
        if not fnmatch.fnmatch(method.name, options.only):
            continue
        name, of = method.name, method.weights
        if (network := method.network) is not None:
            passes = SYMMETRIES if "self_ensemble" in name else 1
            results.want(name, "parameters", of, lambda n=network: sum(p.numel() for p in n.parameters()))
            results.want(name, "multiply-adds", of, lambda n=network, p=passes: p * multiply_adds_a_pixel(n))
        if options.repeats:
            repeats = options.repeats if network is not None else 1
            results.want(name, "time", f"{of} {machine()}", lambda m=method, r=repeats: seconds_a_megapixel(m, r))
        for place, clean in (classical if network is None else sets | colour).items():
            for sigma in SIGMAS:
                pictures = f"{of} {digest(clean)}"
                results.want(name, f"{place} {sigma}", pictures, lambda m=method, c=clean, s=sigma: mean_psnr(m, c, s))
    if options.classical and fnmatch.fnmatch(CLASSICAL[0], options.only):
        measure_tuned(classical, bool(options.repeats), results)
    print(f"\n{machine()}\n\n{markdown(results.rows, [*sets, *colour])}")
    if options.picture:
        draw(results.rows, Path(options.picture))


if __name__ == "__main__":
    main()
