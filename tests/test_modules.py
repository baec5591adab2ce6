"""Law: every layer is a good module: state_dict, pickle, deepcopy, meta device, dtype, autocast, tiny states."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from cases import build_case, each_step
from catalogue import STEPS, TERMS, build
from classifiers import CLASSIFIERS
from states import BOUNDARIES, CHANNELS, number, state

from pdeconv import (
    CoherenceEnhancing,
    ConvDiffusivity,
    ConvTensor,
    ConvVelocity,
    EdgeEnhancing,
    Euler,
    Evolve,
    Fixed,
    Grid,
    HamiltonianSystem,
    MonotoneDiffusivity,
    NonlocalDiffusion,
    PDEBlock,
    PerChannel,
    PerChannelTensor,
    PerChannelVelocity,
    PeronaMalik,
    PointwiseNetwork,
    PooledDiffusivity,
    RationalInfluence,
    StreamVelocity,
    SymmetricConvolution,
    VelocityField,
    Weickert,
    create_model,
)

MODELS = {
    "adr_denoiser": dict(in_channels=1, channels=3, steps=2),
    "energy_flow_denoiser": dict(in_channels=1, steps=2, kernel_size=3),
    "gradient_flow_denoiser": dict(in_channels=1, steps=2, kernel_size=3),
    "multiscale_denoiser": dict(in_channels=1, channels=4, depth=2),
    "reaction_diffusion_denoiser": dict(in_channels=1, steps=2, kernel_size=3),
    **{name: dict(in_channels=1, **options) for name, options in CLASSIFIERS.items()},
}
BUILDERS = {
    name: (lambda name=name: Evolve(Euler(build(name).float()), 0.1, Fixed(2, unchecked=True))) for name in TERMS
}
BUILDERS |= {"block": lambda: PDEBlock(CHANNELS)}
INPUTS = {name: (2, 1, 9, 10) for name in MODELS}
BUILDERS |= {name: (lambda name=name: create_model(name, **MODELS[name])) for name in MODELS}


def example(name):
    return torch.rand(*INPUTS.get(name, (2, CHANNELS, 5, 6)))


@pytest.mark.parametrize("name", BUILDERS)
def test_saved_copied_and_pickled(name):
    module, u = BUILDERS[name](), example(name)
    expected = module(u)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(u), expected)
    fresh = BUILDERS[name]()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(u), expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_same_keys_and_a_version_everywhere(name):
    module = BUILDERS[name]()
    keys = list(module.train().state_dict())
    assert keys == list(module.eval().state_dict())
    compiled = BUILDERS[name]()
    compiled.compile(backend="eager")
    assert list(compiled.state_dict()) == keys
    assert all("version" in entry for entry in module.state_dict()._metadata.values())


@pytest.mark.parametrize("name", BUILDERS)
def test_no_float64_is_made(name):
    module, u = BUILDERS[name](), example(name)
    weights = [weight for weight in module.state_dict().values() if weight.is_floating_point()]
    assert all(weight.dtype == torch.float32 for weight in weights)
    seen = set()

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            seen.update(t.dtype for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, torch.Tensor))
            return out

    module(u)  # bases of transforms are cached in float64, once
    with Spy():
        assert module(u).dtype == torch.float32
    assert torch.float64 not in seen


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", BUILDERS)
def test_another_dtype(name, dtype):
    """The module and its state in another type: that type comes out, near the float32 result."""
    module, u = BUILDERS[name]().eval(), example(name)
    expected = module(u)
    converted = copy.deepcopy(module).to(dtype)(u.to(dtype))
    assert converted.dtype == dtype
    tolerance = {torch.float64: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}[dtype]
    assert (converted.float() - expected).abs().max() < tolerance * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize(
    "name", [n for n in BUILDERS if n not in ("residual", "network_energy") and "classifier" not in n]
)
def test_weights_of_another_dtype_than_the_state(name):
    """The state decides, except where layers of PyTorch see it as it is."""
    module, u = BUILDERS[name]().eval(), example(name)
    for dtype in (torch.bfloat16, torch.float64):
        assert module(u.to(dtype)).dtype == dtype


@pytest.mark.parametrize("name", BUILDERS)
def test_autocast(name):
    check_autocast(BUILDERS[name]().eval(), example(name))


@pytest.mark.parametrize(("term_name", "step_name"), each_step())
def test_autocast_of_steps(term_name, step_name):
    step, channels = build_case(term_name, step_name, "neumann", 2)
    check_autocast(Evolve(step.float(), 0.1, Fixed(2, unchecked=True)), torch.rand(2, channels, 5, 6))


def check_autocast(module, u):
    """bf16 autocast trains: finite gradients, an output within 5 % of the largest value."""
    expected = module(u).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(u)
    assert (out.float() - expected).abs().max() < 0.05 * float(expected.abs().max())
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    if weights:
        out.float().square().sum().backward()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in weights)


@pytest.mark.parametrize("name", BUILDERS)
def test_meta_device(name):
    """Shapes without memory."""
    module, u = BUILDERS[name](), example(name)
    assert module.to("meta")(u.to("meta")).shape == BUILDERS[name]()(u).shape


@pytest.mark.parametrize(
    "build_it",
    [
        lambda **factory: PerChannel(2, **factory),
        lambda **factory: PeronaMalik(2, **factory),
        lambda **factory: Weickert(2, **factory),
        lambda **factory: MonotoneDiffusivity(2, **factory),
        lambda **factory: ConvDiffusivity(2, **factory),
        lambda **factory: PooledDiffusivity(2, **factory),
        lambda **factory: PerChannelTensor(2, **factory),
        lambda **factory: ConvTensor(2, **factory),
        lambda **factory: EdgeEnhancing(2, **factory),
        lambda **factory: CoherenceEnhancing(2, **factory),
        lambda **factory: PerChannelVelocity(2, **factory),
        lambda **factory: ConvVelocity(2, **factory),
        lambda **factory: VelocityField((3, 4), 2, **factory),
        lambda **factory: StreamVelocity(2, **factory),
        lambda **factory: RationalInfluence(2, **factory),
        lambda **factory: SymmetricConvolution(2, **factory),
        lambda **factory: PDEBlock(2, **factory),
        lambda **factory: PointwiseNetwork(2, 3, **factory),
        lambda **factory: NonlocalDiffusion(2, **factory),
        lambda **factory: HamiltonianSystem(2, **factory),
    ],
)
def test_factory_arguments(build_it):
    for dtype in (torch.float64, torch.bfloat16):
        assert all(weight.dtype == dtype for weight in build_it(dtype=dtype).parameters())
    assert all(weight.device.type == "meta" for weight in build_it(device="meta").parameters())
    with torch.device("meta"):
        assert all(weight.device.type == "meta" for weight in build_it().parameters())


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", [name for name in TERMS if name != "residual"])
def test_a_single_cell_and_a_batch_of_one(name, boundary):
    """1-pixel images are images; only a kernel wider than a mirrored or wrapped image can say no."""
    for dims in (1, 2, 3):
        term = build(name, Grid(boundary=boundary, dims=dims))
        u = torch.rand(1, CHANNELS, *[1] * dims, dtype=torch.float64)
        try:
            after = Evolve(Euler(term), 0.1, Fixed(1, unchecked=True))(u)
        except ValueError as refused:
            assert "at least" in str(refused) and ("conv" in name or name in ("sum", "hamiltonian", "convex_energy"))
            continue
        assert after.shape == u.shape and after.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_models_take_images_of_any_size(name):
    model = BUILDERS[name]().eval()
    for size in ((1, 1), (1, 7), (2, 3), (17, 8)):
        out = model(torch.rand(1, 1, *size))
        assert out.isfinite().all()
        assert out.shape == ((1, 1, *size) if "denoiser" in name else (1, 10))


@pytest.mark.parametrize("name", MODELS)
def test_models_use_all_their_weights_and_trace_their_features(name):
    model, u = BUILDERS[name](), example(name)
    (model(u) - 0.3).square().sum().backward()
    unused = [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not unused
    trajectory = model.eval().trajectory(u)
    assert len(trajectory.times) == len(trajectory.states)
    assert (trajectory.times.diff() >= 0).all()
    if "denoiser" in name:
        assert torch.equal(trajectory.states[0], u) and torch.equal(trajectory.states[-1], model(u))


def test_inference_mode_leaves_training_possible():
    """What is cached on the way must not be an inference tensor."""
    step = STEPS["CrankNicolson"](build("channel_diffusion", Grid(spacing=0.77)))
    u = state(2, cells=11)
    with torch.inference_mode():
        step(u, number(0.2))
    step(u.requires_grad_(), number(0.2)).sum().backward()
    assert u.grad.isfinite().all()


def test_channels_last_gives_the_same():
    for name in ("block", "adr_classifier"):
        module, u = BUILDERS[name]().eval(), example(name)
        assert torch.allclose(module(u.contiguous(memory_format=torch.channels_last)), module(u), atol=1e-5)


def test_importing_costs_hardly_more_than_torch():
    """What is slow to import waits until it is needed: the compiler alone takes a second."""
    program = "import sys, torch; before = {*sys.modules}; import pdeconv; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "pdeconv" in imported
    assert not imported & {"matplotlib", "scipy", "skimage", "sklearn", "torchvision", "accelerate", "jsonargparse"}
    assert not [name for name in done.stdout.split() if name.startswith(("torch._dynamo", "torch._inductor", "sympy"))]
