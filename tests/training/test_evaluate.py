"""evaluate.py: a checkpoint on its test set, and on a picture."""

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy
from toy_run import ROOT, ToyNet, run_toy

import evaluate
from pdeconv import Evolve, Fixed, create_model
from pdeconv.errors import PDEConvError
from pdeconv.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pdeconv.training.command_line import run_program
from pdeconv.training.config import parse_config
from pdeconv.training.data import load_data
from pdeconv.training.image_files import read_image, write_image
from pdeconv.training.network import network_of, trained_network
from pdeconv.training.run_folder import as_plain


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    assert run_toy(folder, "--epochs", "1").status == 0
    return folder


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr("pdeconv.training.network.build_network", lambda config, channels, classes: ToyNet())


def test_a_picture_is_denoised(run, toy, tmp_path, capsys):
    write_image(tmp_path / "cat.png", torch.rand(1, 9, 13, generator=torch.Generator().manual_seed(0)))
    arguments = ["--checkpoint", str(run), "--image", str(tmp_path / "cat.png"), "--output", str(tmp_path / "out")]
    assert evaluate.main([*arguments, "--add_noise", "25"]) == 0
    assert "PSNR" in capsys.readouterr().out
    shapes = {path.name: tuple(read_image(path, "gray").shape) for path in (tmp_path / "out").iterdir()}
    assert shapes == {
        "cat_denoised.png": (1, 9, 13),
        "cat_noisy.png": (1, 9, 13),
        "cat_before_after.png": (1, 9, 26),
    }


def test_a_denoiser_is_told_the_noise_that_was_added(run, monkeypatch, tmp_path):
    class Told(ToyNet):
        def forward(self, x, sigma=None):
            told.append(sigma)
            return super().forward(x)

    told = []
    monkeypatch.setattr("pdeconv.training.network.build_network", lambda config, channels, classes: Told())
    write_image(tmp_path / "cat.png", torch.rand(1, 9, 13))
    arguments = [str(run), "--image", str(tmp_path / "cat.png"), "--output", str(tmp_path / "out")]
    assert evaluate.main([*arguments, "--add_noise", "25"]) == 0
    assert evaluate.main(arguments) == 0
    assert told == [25 / 255, None]


def test_the_checkpoint_may_be_named_in_three_ways(run):
    for path in (run, run / "checkpoints", run / "checkpoints" / "best"):
        assert evaluate.find_checkpoint(path).step == read_checkpoint(run / "checkpoints" / "best").step


def test_the_test_set_is_measured(run, toy, tmp_path, capsys, monkeypatch):
    from toy_run import ToyTask, toy_data

    monkeypatch.setattr(evaluate, "load_data", toy_data)
    monkeypatch.setattr(evaluate, "create_task", lambda config, data: ToyTask())
    assert evaluate.main(["--checkpoint", str(run), "--output", str(tmp_path)]) == 0
    assert "7 test samples of photographs" in capsys.readouterr().out


def test_a_label_of_other_data_means_the_class_of_the_training():
    evaluate.check_classes(("cat", "dog"), ["cat", "dog", "frog"])
    with pytest.raises(PDEConvError, match="class 1 of the data is 'frog', but was 'dog' in training"):
        evaluate.check_classes(("cat", "frog"), ["cat", "dog", "frog"])
    with pytest.raises(PDEConvError, match="class 2 of the data is 'owl', but was no class in training"):
        evaluate.check_classes(("cat", "dog", "owl"), ["cat", "dog"])


def test_a_picture_is_classified(monkeypatch, tmp_path, capsys):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    arguments = ["--task", "classification", "--model.name", "m", "--data.name", "digits", "--run", "r"]
    names = tuple(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    about = {"config": as_plain(parse_config(arguments)), "step": 3, "channels": 1, "classes": names}
    folder = write_checkpoint(tmp_path, Checkpoint(dict(network.state_dict()), None, about))
    monkeypatch.setattr("pdeconv.training.network.build_network", lambda config, channels, classes: network)
    write_image(tmp_path / "digit.png", torch.rand(1, 20, 20))
    picture = ["--image", str(tmp_path / "digit.png"), "--output", str(tmp_path / "out")]
    assert evaluate.main([str(folder), *picture]) == 0
    text = capsys.readouterr().out
    assert text.count("%") == 5 and any(name in text for name in names)
    assert read_image(tmp_path / "out" / "digit_class.png", "rgb").shape[0] == 3
    with pytest.raises(PDEConvError, match="only a denoiser takes noise"):
        evaluate.main([str(folder), "--image", str(tmp_path / "digit.png"), "--add_noise", "25"])


def test_other_steps_than_in_training(tmp_path, capsys):
    arguments = ["--task", "classification", "--model.name", "ode_classifier", "--model.steps", "2"]
    config = parse_config([*arguments, "--data.name", "digits", "--run", "r"])
    classes = tuple(load_data(config.data, "classification", 0).classes or ())
    about = {"config": as_plain(config), "step": 3, "channels": 1, "classes": classes}
    model = create_model("ode_classifier", in_channels=1, num_classes=10, steps=2)
    folder = write_checkpoint(tmp_path, Checkpoint(dict(model.state_dict()), None, about))
    image = torch.rand(2, 1, 8, 8)
    finer = create_model("ode_classifier", in_channels=1, num_classes=10, steps=3).eval()
    finer.load_state_dict(model.state_dict())
    assert torch.equal(trained_network(folder, steps=3)(image), finer(image))
    assert torch.equal(trained_network(folder)(image), model.eval()(image))
    assert not torch.equal(finer(image), model(image))
    assert evaluate.main([str(folder), "--steps", "3", "--output", str(tmp_path / "out")]) == 0
    data = load_data(config.data, "classification", 0).test
    inputs, labels = data.batch(torch.arange(len(data)), 0)
    with torch.no_grad():
        loss = cross_entropy(finer(inputs), labels)
    text = capsys.readouterr().out
    assert f"loss │ {loss:.4f}" in " ".join(text.split()) and "ode_classifier, steps = 3," in text


@torch.no_grad()
@pytest.mark.parametrize("trained", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 4, 6])
def test_other_steps_take_the_statistics_of_the_nearest_time(steps, trained):
    options = dict(widths=(4, 8), depths=(1, 1))
    arguments = ["--task", "classification", "--model.name", "parabolic_classifier", "--model.steps", str(trained)]
    arguments += ["--model.widths", "[4,8]", "--model.depths", "[1,1]"]
    about = {"config": as_plain(parse_config([*arguments, "--data.name", "digits", "--run", "r"])), "step": 3}
    about |= {"channels": 1, "classes": [str(number) for number in range(10)]}
    model = create_model("parabolic_classifier", in_channels=1, steps=trained, **options)
    for _ in range(4):
        model.train()(torch.rand(16, 1, 8, 8))
    found = network_of(Checkpoint(dict(model.state_dict()), None, about), steps=steps)
    image = torch.rand(2, 1, 8, 8)
    for evolve in [part for part in model.modules() if isinstance(part, Evolve)]:
        evolve.set_control(Fixed(steps, unchecked=True))
    assert torch.equal(found(image), model.eval()(image))
    assert steps in [part.steps for part in found.modules() if isinstance(part, Evolve)]


@pytest.mark.parametrize("name", ["reaction_diffusion_denoiser", "adr_denoiser"])
def test_weights_of_single_steps_are_not_those_of_others(name, tmp_path):
    model = create_model(name, steps=2)
    arguments = ["--task", "denoising", "--model.name", name, "--model.steps", "2"]
    about = {"config": as_plain(parse_config([*arguments, "--data.name", "photographs", "--run", "r"]))}
    about |= {"step": 3, "channels": 1, "classes": None}
    weights = dict(model.state_dict())
    with pytest.raises(PDEConvError, match="weights of its own for each step; expected 2, as in training, got 3"):
        network_of(Checkpoint(weights, None, about), steps=3)
    assert network_of(Checkpoint(weights, None, about), steps=2)
    del weights[next(iter(weights))]
    with pytest.raises(RuntimeError, match="Missing key"):  # a file of something else, whatever the steps
        network_of(Checkpoint(weights, None, about), steps=2)


def test_a_real_run_from_configuration_to_picture(tmp_path):
    """The shipped denoiser, its data and its task, at a tiny size: every part meets every other."""
    train = ["train.py", "--config", "configs/quickstart_denoise.yaml", "--run", str(tmp_path / "run"), "--epochs", "1"]
    train += ["--data.patches_per_epoch", "4", "--batch_size", "2", "--data.patch_size", "16"]
    train += ["--denoising.compare", "false", "--model.steps", "1"]
    done = subprocess.run([sys.executable, *train], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    opened = done.stdout.split("to open:")[1].split()
    assert len(opened) >= 5 and (tmp_path / "run" / "pictures" / "before_after.png").exists()


def test_an_unknown_model_is_one_line_and_leaves_no_folder(tmp_path, capsys):
    import train

    config = str(ROOT / "configs" / "quickstart_denoise.yaml")
    wrong = ["--config", config, "--model.name", "reaction_difusion_denoiser", "--run", str(tmp_path / "w")]
    with pytest.raises(SystemExit) as stopped:
        run_program("train.py", lambda: train.main(wrong))
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1 and not (tmp_path / "w").exists()
    assert "did you mean 'reaction_diffusion_denoiser'?" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "missing: checkpoint; usage: runs/NAME"),
        (["r", "--batch_size", "0"], "batch_size: expected 1 or more, got 0"),
        (["r", "--steps", "0"], "steps: expected 1 or more, got 0"),
        (["r", "--add_noise", "-1", "--image", "i"], "add_noise: expected 0 or more, got -1"),
        (["r", "--add_noise", "25"], "add_noise: give an --image"),
        (["r", "--output", __file__], "is a file; give a folder"),
    ],
)
def test_a_slip_is_one_line(arguments, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_program("evaluate.py", lambda: evaluate.main(arguments))
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1 and expected in err


def test_a_missing_checkpoint_or_image_is_one_line(run, toy, capsys):
    for arguments in (["--checkpoint", "nowhere"], ["--checkpoint", str(run), "--image", "nothing.png"]):
        with pytest.raises(SystemExit) as stopped:
            run_program("evaluate.py", lambda arguments=arguments: evaluate.main(arguments))
        err = capsys.readouterr().err
        assert stopped.value.code == 2 and err.count("\n") == 1 and "no" in err
