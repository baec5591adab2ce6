"""docs/drop_in.md, from the first line to the last: blocks in, trained on pictures, exported, run elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torchvision.models.resnet import BasicBlock, ResNet
from toy_run import ROOT

import evaluate
import train
from pdeconv import Fixed
from pdeconv.errors import PDEConvError
from pdeconv.models import registry
from pdeconv.training.command_line import run_program
from pdeconv.training.config import parse_config, restored_config
from pdeconv.training.image_files import write_image
from pdeconv.training.model_config import ModelConfig
from pdeconv.training.model_source import run_model_source
from pdeconv.training.network import build_network, trained_network
from pdeconv.training.run_folder import as_plain

PAGE = (ROOT / "docs" / "drop_in.md").read_text().replace('weights="DEFAULT"', "weights=None")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SMALL = """
import torch
from torch import nn
import pdeconv

@pdeconv.register_model("{name}")
def small(in_channels: int = 3, num_classes: int = 2, steps: int = 1):
    net = nn.Sequential(nn.Conv2d(in_channels, 4, 3, 2), nn.ReLU(), pdeconv.PDEBasicBlock(4, 4, norm_layer=norm))
    net = pdeconv.replace_blocks(net, pdeconv.EulerBlocks(steps)).model
    return nn.Sequential(net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

def norm(channels):
    return nn.GroupNorm(2, channels)  # batch normalisation would see half a batch on each of two processes
"""


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    """In a folder of its own, with the registry as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_constructors", dict(registry._constructors))
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def pictures(tmp_path):
    """Two classes of pictures: dark and bright."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 8), ("test", 2)):
        for label, name in enumerate(("dark", "bright")):
            for place in range(count):
                image = torch.rand(3, 36, 36, generator=generator) * 0.5 + 0.5 * label
                (tmp_path / "pictures" / part / name).mkdir(parents=True, exist_ok=True)
                write_image(tmp_path / "pictures" / part / name / f"{place}.png", image)
    return tmp_path / "pictures"


def arguments(*more):
    common = ["--config", str(ROOT / "configs" / "drop_in.yaml"), "--data.root", "pictures", "--batch_size", "8"]
    common += ["--data.image_size", "32", "--data.workers", "0", "--keep_freed_memory", "false"]
    return [*common, *more]


def test_the_first_steps(capsys):
    names: dict = {}
    for block in BLOCKS[:3]:
        exec(block.replace("224", "32").replace("64, 64", "32, 32").replace('"layer4"', '"layer1"'), names)
    assert "5 of 8 changed" in capsys.readouterr().out
    assert len(names["net"].layer1) == 3


def test_from_pictures_to_onnxruntime(pictures, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    # A ResNet of fewer blocks, of which each evolution takes one step: a short export.
    monkeypatch.setattr("torchvision.models.resnet18", lambda weights: ResNet(BasicBlock, [2, 1, 1, 1]))
    monkeypatch.setattr("pdeconv.blocks.CFL", lambda safety: Fixed(1, unchecked=True))
    code = next(block for block in BLOCKS if "register_model" in block)
    Path("my_model.py").write_text(code.replace("(net.layer1, net.layer2)", "(net.layer2,)"))
    assert train.main(arguments("--run", "runs/pictures", "--epochs", "1")) == 0
    assert yaml.safe_load(Path("runs/pictures/config.yaml").read_text())["model"]["source"] == "my_model.py"
    assert evaluate.main(["runs/pictures", "--output", "out"]) == 0
    assert "resnet18_pde on 4 test samples" in capsys.readouterr().out
    export, run = (block.replace("224", "32") for block in BLOCKS[-2:])
    names: dict = {}
    exec(export, names)
    exec(run, names)
    with torch.no_grad():
        expected = trained_network("runs/pictures")(torch.from_numpy(names["images"])).numpy()
    assert names["logits"].shape == (5, 2)
    np.testing.assert_allclose(names["logits"], expected, rtol=1e-3, atol=1e-4)


def test_a_run_resumes_and_two_processes_train_alike(pictures):
    Path("small_model.py").write_text(SMALL.format(name="small_model"))
    own = ["--model.source", "small_model.py", "--model.name", "small_model", "--model.steps", "2", "--epochs", "1"]
    own += ["--data.augment", "false"]
    assert train.main(arguments(*own, "--run", "one")) == 0
    assert train.main(arguments(*own, "--run", "one", "--resume", "auto")) == 0  # of a finished run: measured again
    Path("elsewhere").mkdir()
    Path("small_model.py").rename("elsewhere/small_model.py")
    sys.modules.pop(next(name for name in sys.modules if name.startswith("small_model_")))
    with pytest.raises(PDEConvError, match=r"there is no file 'small_model\.py'"):
        evaluate.main(["one"])
    registry._constructors.pop("small_model")
    assert evaluate.main(["one", "--source", "elsewhere/small_model.py", "--output", "out"]) == 0
    alone = trained_network("one", source="elsewhere/small_model.py").state_dict()
    own[1] = "elsewhere/small_model.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--"]
    command = [*launch, str(ROOT / "train.py"), *arguments(*own, "--run", "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pair = trained_network("two").state_dict()
    for key, value in alone.items():
        torch.testing.assert_close(value, pair[key], rtol=1e-3, atol=1e-5)


FILES = {
    "missing": (None, r"model\.source: there is no file 'broken\.py'; give a Python file that registers"),
    "another name": (
        SMALL.format(name="other"),
        r'not call @pdeconv\.register_model\("wanted"\); it registers other',
    ),
    "no model": ("x = 1", r"register_model\(\"wanted\"\); write it over the class or function"),
    "syntax": ("import torch\ndef f(:\n", r"model\.source: .*broken\.py, line 2: SyntaxError"),
    "an error": ("\n\nimport not_there", r"broken\.py, line 3: ModuleNotFoundError: No module named 'not_there'"),
    "a name that is taken": (SMALL.format(name="adr_classifier"), r"named 'adr_classifier' is registered already"),
    "an exit": ("raise SystemExit(3)", r"broken\.py, line 1: SystemExit: 3"),
}


@pytest.mark.parametrize("kind", FILES)
def test_slips(kind, capsys, pictures):
    content, message = FILES[kind]
    if content is not None:
        Path("broken.py").write_text(content)
    given = arguments("--model.source", "broken.py", "--model.name", "wanted", "--run", "run")
    with pytest.raises(SystemExit) as left:
        run_program("train.py", lambda: train.main(given))
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.count("\n") == 1 and said.startswith("train.py: "), said
    assert re.search(message, said), said
    assert not Path("run").exists()


def test_a_module_by_its_name():
    Path("by_name_example.py").write_text(SMALL.format(name="by_name"))
    sys.path.insert(0, str(Path.cwd()))
    run_model_source("by_name_example", "by_name")
    assert "by_name" in registry._constructors
    with pytest.raises(PDEConvError, match="no module 'not_there'; give one that is installed, or a file"):
        run_model_source("not_there", "by_name")


def test_options_are_those_that_the_model_declares():
    Path("declares.py").write_text(SMALL.format(name="declares"))
    network = build_network(ModelConfig("declares", source="declares.py", steps=3), 1, ("a", "b", "c"))
    assert network(torch.rand(2, 1, 16, 16)).shape == (2, 3) and network[0][2].evolve.steps == 3
    with pytest.raises(PDEConvError, match=r"declares takes no option 'depth'.*num_classes, steps"):
        build_network(ModelConfig("declares", source="declares.py", depth=3), 1, ("a", "b"))
    config = parse_config(arguments("--run", "r"))
    assert restored_config(as_plain(config)).model.source == "my_model.py"
