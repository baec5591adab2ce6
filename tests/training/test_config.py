"""The command line: what it accepts, and the one line it answers a mistake with."""

from pathlib import Path

import pytest
import yaml

from pdeconv import PDEConvError
from pdeconv.training.config import parse_config, restored_config
from pdeconv.training.run_folder import FREE_ON_RESUME, _require_same, as_plain

CONFIGS = Path(__file__).parents[2] / "configs"
NEEDED = ["--task", "denoising", "--model.name", "m", "--data.name", "photographs", "--run", "runs/x"]


def refused(capsys, arguments) -> str:
    with pytest.raises(SystemExit) as stopped:
        parse_config(arguments)
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == "" and err.startswith("train.py: ")
    assert err.count("\n") == 1 and err.endswith("\n")
    return err


def test_values_of_every_kind():
    arguments = ["--model.channels", "64", "--denoising.sigma", "[5, 50]", "--ema=0.99", "--data.augment", "false"]
    config = parse_config([*NEEDED, *arguments, "--denoising.test_sigma", "[15, 25]", "--optimizer.lr", "1"])
    assert config.model.channels == 64 and config.model.depth is None and config.model.given() == {"channels": 64}
    assert config.denoising.sigma == (5.0, 50.0) and config.denoising.test_sigma == [15.0, 25.0]
    assert config.ema == 0.99 and config.data.augment is False and config.optimizer.lr == 1.0
    assert parse_config(NEEDED).denoising.sigma == 25.0
    assert parse_config([*NEEDED, "--denoising.test_sigma", "30"]).denoising.test_sigma == 30.0


def test_lists_of_numbers(tmp_path):
    """From the command line, from YAML, and back from what a run saved."""
    arguments = ["--model.widths", "[32,64]", "--model.depths=[1, 2]", "--model.stem_width", "8"]
    expected = {"widths": [32, 64], "depths": [1, 2], "stem_width": 8}
    config = parse_config([*NEEDED, *arguments])
    assert config.model.given() == expected and restored_config(as_plain(config)) == config
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(config)))
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == config
    (tmp_path / "own.yaml").write_text("model: {widths: [32, 64], depths: [1, 2], stem_width: 8}")
    assert parse_config(["--config", str(tmp_path / "own.yaml"), *NEEDED]).model.given() == expected


def test_options_of_a_model_without_keys_of_their_own(tmp_path, capsys):
    """From YAML, from the command line over it, back from what a run saved, and refused where there is a key."""
    (tmp_path / "own.yaml").write_text("model: {name: m, widths: [8], options: {leak: 0.2, windows: [5, 7]}}")
    config = parse_config(["--config", str(tmp_path / "own.yaml"), *NEEDED])
    assert config.model.given() == {"widths": [8], "leak": 0.2, "windows": [5, 7]}
    assert restored_config(as_plain(config)) == config
    arguments = ["--config", str(tmp_path / "own.yaml"), *NEEDED]
    assert parse_config([*arguments, "--model.options.leak", "0.5"]).model.options == {"leak": 0.5, "windows": [5, 7]}
    assert parse_config([*arguments, "--model.options", "{window: 3}"]).model.options == {"window": 3}
    whole = parse_config([*arguments, "--model.options", "{window: null}"])  # which is not its default
    for other, now in (("{}", "not given"), ("{window: 8}", "8")):
        with pytest.raises(PDEConvError, match=rf"model\.options\.window \(was None, now {now}\)"):
            _require_same(parse_config([*arguments, "--model.options", other]), as_plain(whole), FREE_ON_RESUME)
    assert "expected model.widths" in refused(capsys, [*arguments, "--model.options.widths", "[3]"])
    assert "is of pdeconv.create_model" in refused(capsys, [*arguments, "--model.options.pretrained", "true"])
    assert "model.options: expected names and values" in refused(capsys, [*arguments, "--model.options", "3"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model.widths", "[8, wide]"], "widths: expected a list of a whole number or null, got 'wide'"),
        (["--model.chanels", "3"], "unknown key 'model.chanels'; did you mean 'model.channels'?"),
        (["--model.leak", "3"], "What has no key of its own is given as 'model.options.leak'."),
        (["--modle.name=x"], "unknown key 'modle.name'; did you mean 'model.name'?"),
        (["--batchsize", "3"], "unknown key 'batchsize'; did you mean 'batch_size'?"),
        (["--channels", "3"], "unknown key 'channels'; did you mean 'model.channels'?"),
        (["--epochs", "many"], "epochs: expected a whole number, got 'many'"),
        (["--model.channels", "3.5"], "model.channels: expected a whole number or null, got '3.5'"),
        (["--data.augment", "maybe"], "data.augment: expected true or false, got 'maybe'"),
        (["--denoising.sigma", "[1,2,3]"], "sigma: expected a number or [a number, a number], got '[1, 2, 3]'"),
        (["--precision", "fp8"], "precision: expected one of no, bf16, fp16, got 'fp8'"),
        (["--model", "x"], "model: expected keys and values, such as model.name"),
        (["--epochs", "0"], "epochs: expected 1 or more, got 0"),
        (["--seed", "99999999999999999999"], "seed: expected a whole number from 0 to 2**32 - 1"),
        (
            ["--denoising.test_sigma", "[25, 25]"],
            "test_sigma: expected at least one level, each 0 or more and different",
        ),
        (["--classification.label_smoothing", "1"], "label_smoothing: expected 0 to below 1, got 1.0"),
        (["--ema", "1.5"], "ema: expected between 0 and 1, got 1.5"),
        (["--optimizer.clip_norm", "-1"], "optimizer.clip_norm: expected more than 0, got -1.0"),
        (["--denoising.sigma", "[50, 5]"], "sigma: expected 0 or more, or a range [low, high], got (50.0, 5.0)"),
        (["--epochs"], "argument --epochs: expected one argument"),
        (["--config", "nowhere.yaml"], "no configuration file at 'nowhere.yaml'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, expected, capsys):
    assert expected in refused(capsys, [*NEEDED, *arguments])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {chanels: 3}", "unknown key 'model.chanels' in"),
        ("epoch: 3", "did you mean 'epochs'?"),
        ("model: {channels: wide}", "model.channels: expected a whole number or null, got 'wide'"),
        ("a: [", "is not valid YAML"),
        ("- 1", "should hold 'key: value' lines"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(text, expected, capsys, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    assert expected in refused(capsys, ["--config", str(tmp_path / "c.yaml"), *NEEDED])


def test_a_file_that_is_no_text_is_one_line(capsys, tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    assert "c.yaml is not a text file" in refused(capsys, ["--config", str(tmp_path / "c.yaml"), *NEEDED])


def test_what_is_missing_is_named(capsys):
    assert "missing: model.name, data.name, run" in refused(capsys, ["--task", "denoising"])


def test_later_arguments_override_the_file_and_it_reads_as_saved(tmp_path):
    config = parse_config([*NEEDED, "--epochs", "3", "--denoising.sigma", "[5, 50]", "--optimizer.lr", "3e-4"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(as_plain(config)))
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == config
    assert parse_config(["--config", str(tmp_path / "config.yaml"), "--epochs", "4"]).epochs == 4


def test_print_config_prints_what_reads_back(capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        parse_config([*NEEDED, "--print_config"])
    assert stopped.value.code == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert parse_config(["--config", str(tmp_path / "printed.yaml")]) == parse_config(NEEDED)


def test_help_has_a_line_for_every_option(capsys):
    with pytest.raises(SystemExit):
        parse_config(["--help"])
    text = capsys.readouterr().out
    for key in yaml.safe_load(yaml.safe_dump(as_plain(parse_config(NEEDED)))):
        assert key in text
    described = text.split("--model.kernel_size")[1]
    assert "side of the learned kernels" in described and "null" in described


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_reads(path):
    assert parse_config(["--config", str(path)]).run == f"runs/{path.stem}"
