"""Writing files so that a crash leaves either the old content or the new, never a mixture."""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    if os.name == "posix":
        sync_file(path)


def replace_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text)
    sync_file(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)
