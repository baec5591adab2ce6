"""The machine of a run: its name, and the two rates that bound everything, measured in that same run."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

import pdeconv

from .pairing import Call, alternate, summarise
from .row import Setting

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_CHECKOUT = Path(__file__).resolve().parents[2]
_UNITS = {"K": 2**10, "M": 2**20}


def copying(*shape: int) -> Call:
    """Copies a float32 tensor into memory that exists: what reading a state and writing one costs at least."""
    source, target = torch.rand(shape), torch.zeros(shape)
    return lambda: target.copy_(source)


def cache_bytes() -> int:
    """Of the largest cache; 32 MiB where the system does not say."""
    sizes = [path.read_text().strip() for path in _CACHES.glob("index*/size")]
    return max((int(size[:-1]) * _UNITS.get(size[-1], 1) for size in sizes), default=32 * 2**20)


def describe(setting: Setting) -> list[str]:
    """Lines on the processor, the software and the measured rates."""
    side = 128 if setting.quick else 1024
    a, b, c = torch.rand(side, side), torch.rand(side, side), torch.empty(side, side)
    large, small = (2**16, 2**14) if setting.quick else (2**26, 2**22)
    calls = (copying(large), copying(small), lambda: torch.mm(a, b, out=c))
    big, little, product = (summarise(seconds) for seconds in alternate(calls, setting.patience))
    lines = [
        f"{_processor()}, {os.cpu_count()} cores, largest cache {cache_bytes() / 2**20:.0f} MiB; torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads, Python {platform.python_version()}",
    ]
    lines.append(measured_library())
    for size, found in ((large, big), (small, little)):
        rates = [8e-9 * size / seconds for seconds in (found.median, found.high, found.low)]
        lines.append(
            f"copy of {size * 4 / 2**20:g} MiB into existing memory: {1e3 * found.median:.3g} ms, "
            f"{rates[0]:.1f} GB/s read and written ({rates[1]:.1f} to {rates[2]:.1f})"
        )
    rates = [2e-9 * side**3 / seconds for seconds in (product.median, product.high, product.low)]
    lines.append(f"{side}³ float32 matrix product: {rates[0]:.0f} GFLOP/s ({rates[1]:.0f} to {rates[2]:.0f})")
    return lines


def measured_library() -> str:
    """Which pdeconv is imported: an editable install may be another checkout than the one this script lies in."""
    root = Path(pdeconv.__file__).resolve().parents[1]
    try:
        git = ["git", "-C", str(root), "describe", "--always", "--dirty=, with uncommitted changes"]
        state = "commit " + subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        state = "no git checkout"
    text = f"pdeconv {pdeconv.__version__}, {state}"
    return text if root == _CHECKOUT else text + " (WARNING: not the checkout of this script; set PYTHONPATH to that)"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
