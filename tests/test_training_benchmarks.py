"""What the benchmarks of training compare is equal where they say so, and no run is taken for another."""

from pathlib import Path

import pytest
import torch
import yaml

from pdeconv import create_model
from pdeconv.training.config import parse_config
from pdeconv.training.run_folder import as_plain

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "classify" / "cifar10.yaml")


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_plain_networks_are_as_large_and_as_dear_to_one_percent():
    from contenders import Contender
    from matched_classifiers import CONTENDERS
    from small_data import MODELS, keys_of

    few = (Contender(model, CONFIG, keys_of(model)) for model in MODELS)
    (parameters, cost), *plain = (contender.size((3, 32, 32)) for contender in (*CONTENDERS["families"], *few))
    assert f"{parameters:,} parameters, {cost / 1e6:.1f} M multiply-adds" in Path(CONFIG).read_text()
    assert len(plain) == 4
    for other, dearer in plain:
        assert other == pytest.approx(parameters, rel=0.01) and dearer == pytest.approx(cost, rel=0.01)


def test_the_control_for_continuous_depth_has_as_many_parameters_or_multiply_adds():
    from matched_classifiers import CONTENDERS

    evolving, once, blocks = (contender.size((3, 32, 32)) for contender in CONTENDERS["depth"])
    assert evolving[0] == once[0] < blocks[0] and evolving[1] == blocks[1] > once[1]


def test_runs_at_once_are_told_apart_and_one_that_fails_ends_the_benchmark(tmp_path, monkeypatch):
    import contenders

    trained = []

    def train(folder, _, keys, threads):
        if keys["epochs"] == 3:
            raise SystemExit("failed")
        trained.append((folder.name, keys["seed"], threads is None))

    monkeypatch.setattr(contenders, "train", train)
    pair = [contenders.Contender(title, CONFIG, {"model.steps": 2}) for title in ("one, here", "another")]
    for jobs in (1, 2):
        runs = contenders.trained(pair, tmp_path, 2, {"epochs": 2}, jobs)
        assert runs == {
            "one, here": [tmp_path / "one_here_0", tmp_path / "one_here_1"],
            "another": [tmp_path / "another_0", tmp_path / "another_1"],
        }
        names = ("another_0", 0), ("another_1", 1), ("one_here_0", 0), ("one_here_1", 1)
        assert sorted(trained) == [(*name, jobs == 1) for name in names]
        trained.clear()
        with pytest.raises(SystemExit, match="failed"):
            contenders.trained(pair, tmp_path, 2, {"epochs": 3}, jobs)


def test_attention_and_spikes_are_compared_with_plain_networks_of_as_many_parameters():
    """By one recipe; and ReLU takes the place of the neurons alone."""
    from attention_and_spikes import PAIRS, SHAPE, milliseconds
    from speed_rows.pairing import Patience

    recipes = []
    for pair in PAIRS:
        (parameters, cost), (plain, _) = (contender.size(SHAPE) for contender in pair)
        assert plain == pytest.approx(parameters, rel=0.01)
        text = Path(pair[0].config).read_text()
        assert f"{parameters:,} parameters, {cost / 1e6:.1f} M multiply-adds" in text
        recipes.append({key: value for key, value in yaml.safe_load(text).items() if key not in ("model", "run")})
        assert {key.partition(".")[0] for key in pair[1].keys} == {"model"} and pair[0].config == pair[1].config
    assert recipes[0] == recipes[1]
    spiking, rectified = (contender.network(1) for contender in PAIRS[1])
    leaks = set(spiking.state_dict()) - set(rectified.state_dict())
    assert set(rectified.state_dict()) < set(spiking.state_dict()) and all(".leak." in name for name in leaks)
    assert len(milliseconds([rectified], Patience(0.0, 1, 1))) == 1


def test_the_firing_rate_of_a_network():
    from attention_and_spikes import firing_rate

    for threshold, expected in ((1e3, 0), (1e-6, 1)):
        options = dict(widths=(4,), depths=(0,), threshold=threshold, norm_layer=Ones)
        network = create_model("spiking_classifier", in_channels=1, num_classes=2, **options)
        assert firing_rate(network, torch.rand(3, 1, 8, 8)) == expected


class Ones(torch.nn.Module):
    """In place of a normalisation: the same current for all neurons in all frames."""

    def __init__(self, channels):
        super().__init__()

    def forward(self, u):
        return torch.ones_like(u)


def test_multiply_adds_are_of_an_image_alone():
    """Not those of the bounds of kernels, which are for a whole batch; and whether a kernel is kept does not matter."""
    from training_runs import multiply_adds

    layers = dict(norm_layer=torch.nn.Identity, act_layer=torch.nn.SiLU)  # without a normalisation kernels have a bound
    model = create_model("parabolic_classifier", widths=(4,), depths=(1,), num_classes=2, **layers)
    with torch.no_grad():
        model.eval()(torch.rand(1, 3, 8, 8))
    stem, block, head = 3 * 4 * 9 * 64, 2 * 4 * 4 * 9 * 36, 4 * 2
    assert multiply_adds(model, (3, 8, 8)) == stem + block + head


def test_a_finished_run_is_not_taken_for_another(tmp_path, monkeypatch):
    import training_runs

    asked = []

    class Done:
        returncode = 0

    monkeypatch.setattr(training_runs.subprocess, "run", lambda command, **_: asked.append(command) or Done)
    keys = {"model.name": "resnet_classifier", "model.widths": "[4,8]", "model.depths": [1, 1], "epochs": 2, "seed": 1}
    training_runs.train(tmp_path, CONFIG, keys)
    assert len(asked) == 1 and {"--epochs", "2", "[1, 1]", str(tmp_path)} <= set(asked[0])
    given = [text for key, value in keys.items() for text in (f"--{key}", str(value))]
    config = parse_config(["--config", CONFIG, "--run", str(tmp_path), *given])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(config)))
    (tmp_path / "metrics.jsonl").write_text('{"kind": "test", "step": 8, "epoch": 2, "top1": 50.0}\n')
    training_runs.train(tmp_path, CONFIG, keys | {"data.root": "elsewhere", "evaluate_every": 1})
    assert len(asked) == 1 and training_runs.last_test(tmp_path)["top1"] == 50.0
    for other in ({"epochs": 3}, {"data.train_images": 200}, {"model.steps": 2}, {"data.erase": 0.5}):
        with pytest.raises(SystemExit, match=next(iter(other)).replace(".", r"\.")):
            training_runs.train(tmp_path, CONFIG, keys | other)
    Done.returncode = 1
    with pytest.raises(SystemExit, match="did not come to its end"):
        training_runs.train(tmp_path / "new", CONFIG, keys)
