"""A user's own Python file that registers models, run once before the model is made."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path

from pdeconv.errors import PDEConvError


def run_model_source(source: str, name: str) -> None:
    """Run the file or import the module that registers the model called ``name``; once in a process.

    What lies beside the file can be imported from it.

    Args:
        source: Path of a Python file, ``my_model.py``, or the name of a module, ``my_package.models``.
        name: What it must register with ``@pdeconv.register_model(name)``.

    Raises:
        PDEConvError: If there is no such file or module; it raises an error, a syntax error too, of which the line is
            named; or it registers no model of that name.
    """
    from pdeconv.models import list_models

    path = Path(source)
    before = set(list_models())
    try:
        if path.suffix == ".py" or path.exists():
            _run_file(path)
        else:
            _import_module(source)
    except PDEConvError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's file may raise
        raise PDEConvError(f"model.source: {_place(error, source)}: {type(error).__name__}: {error}") from error
    if name not in list_models():
        found = ", ".join(sorted(set(list_models()) - before))
        registers = f"it registers {found}" if found else "write it over the class or function that makes the model"
        raise PDEConvError(f'model.source: {source} does not call @pdeconv.register_model("{name}"); {registers}')


def _run_file(path: Path) -> None:
    if not path.is_file():
        raise PDEConvError(f"model.source: there is no file {str(path)!r}; give a Python file that registers the model")
    resolved = path.resolve()
    module_name = f"{resolved.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}"
    if module_name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(module_name, resolved)
    if spec is None or spec.loader is None:
        raise PDEConvError(f"model.source: {str(path)!r} is no Python file; give one that ends with .py")
    if str(resolved.parent) not in sys.path:
        sys.path.append(str(resolved.parent))  # at the end: it hides nothing
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise


def _import_module(source: str) -> None:
    try:
        importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is not None and source.startswith(error.name):
            raise PDEConvError(
                f"model.source: there is no module {source!r}; give one that is installed, or a file, my_model.py"
            ) from error
        raise


def _place(error: BaseException, source: str) -> str:
    """``my_model.py, line 3``: where in the user's code it happened."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or source}, line {error.lineno}"
    name = Path(source).name
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == name]
    return f"{source}, line {lines[-1]}" if lines else source
