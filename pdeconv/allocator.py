"""The C allocator that PyTorch takes CPU memory from."""

from __future__ import annotations

import ctypes
import platform
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Have this process keep the CPU memory that tensors free, for the next ones.

    The GNU C library gives a large block back to the kernel as soon as it is freed, and the next tensor of that size
    faults it in again page by page, which takes longer than most arithmetic on it. This tells ``malloc`` to keep it.
    The cost: the process stays as large as it was at its largest, also while it idles, and its memory may fragment.
    Tensors allocated before stay as they are. It holds for the process and those forked from it. A GPU is not
    concerned, as PyTorch keeps its memory anyway.

    Returns:
        Whether it took effect: True on Linux with glibc, else False, and nothing is changed.

    Example:
        >>> isinstance(keep_freed_memory(), bool)
        True
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
