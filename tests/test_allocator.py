"""Memory that tensors free stays with the process where the C library can be told so."""

import platform
import subprocess
import sys

from pdeconv import allocator

PROGRAM = """
import resource, torch, pdeconv
def faults():
    x, before = torch.zeros(4 << 20), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        x = x.clone()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
took = pdeconv.keep_freed_memory()
faults()
print(took, before, faults())
"""


def test_clones_fault_no_pages_in():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    took, before, after = done.stdout.split()
    assert took == str(sys.platform == "linux" and platform.libc_ver()[0] == "glibc")
    if took == "True":
        assert int(after) < int(before) / 4


def test_nothing_is_done_elsewhere(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "win32")
    assert not allocator.keep_freed_memory()
