"""The command line of the training programs: typed dataclasses in, one clear line out when something is wrong."""

import dataclasses
import difflib
import os
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from pdeconv.errors import PDEConvError, StabilityError

T = TypeVar("T")
PARSER_OPTIONS = ("help", "config", "print_config")


def parse(
    kind: type[T], argv: Sequence[str], program: str, usage: str, description: str, positional: bool = False
) -> T:
    """Read the dataclass ``kind`` from ``argv``; keys are dotted field names, ``--config FILE`` reads YAML.

    Fields without a default are arguments without a name if ``positional``. A bare ``--key`` of a bool means true.

    A mistake ends the program with one line on stderr and exit status 2.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=program,
        usage=f"{program} {usage}",
        description=description,
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of the keys below; later arguments override it")
    parser.add_class_arguments(kind, None, as_positional=positional, fail_untyped=True)  # pyright: ignore[reportArgumentType]
    argv = _with_true(kind, argv, positional)
    try:
        _refuse_unknown_keys(kind, argv)
        values = parser.instantiate(parser.parse_args(list(argv)))
        return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})  # pyright: ignore
    except (ArgumentError, PDEConvError, OSError) as error:
        stop(f"{program}: {_one_line(kind, error, usage)}", status=2)


def run_program(program: str, main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and exit with its status; an error that a user can mend is one line on stderr, not a traceback."""
    try:
        status = main()
    except StabilityError as error:
        stop(f"{program}: unstable step: {error}", status=1)
    except PDEConvError as error:
        stop(f"{program}: {error}", status=getattr(error, "exit_status", 2))
    except KeyboardInterrupt:
        stop(f"{program}: interrupted", status=130)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        stop(f"{program}: {error.strerror or error}: {error.filename or ''}".rstrip(": "), status=2)
    leave(status)


def leave(status: int) -> NoReturn:
    """End the program; one of several processes ends at once.

    A thread of its process group may outlive the group and abort the interpreter's slow goodbye: torchrun would then
    kill the other processes.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if "LOCAL_RANK" in os.environ:
        os._exit(status)
    sys.exit(status)


def stop(message: str, status: int) -> NoReturn:
    """Print one line on stderr and exit; of several processes, those after the first say which they are."""
    rank = os.environ.get("RANK", "0")
    prefix = "" if rank == "0" else f"[process {rank}] "
    print(prefix + " ".join(message.split()), file=sys.stderr, flush=True)
    leave(status)


def valid_keys(kind: type, prefix: str = "") -> dict[str, Any]:
    """Dotted name and type of every field of a dataclass, those of nested dataclasses included."""
    hints = get_type_hints(kind)
    keys: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        keys[prefix + field.name] = hints[field.name]
        if dataclasses.is_dataclass(hints[field.name]):
            keys |= valid_keys(hints[field.name], prefix + field.name + ".")
    return keys


def _with_true(kind: type, argv: Sequence[str], positional: bool) -> list[str]:
    """``argv`` in which ``--key`` of a bool, with no value after it, is ``--key=true``."""
    flags = {f"--{key}" for key, value in valid_keys(kind).items() if value is bool}
    completed = []
    for argument, after in pairwise([*argv, "--"]):
        bare = after.startswith("--") or (positional and after not in ("true", "false"))
        completed.append(f"{argument}=true" if argument in flags and bare else argument)
    return completed


def _refuse_unknown_keys(kind: type, argv: Sequence[str]) -> None:
    valid = valid_keys(kind)
    for place, argument in enumerate(argv):
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            continue
        if name == "config":
            path = value if equals else next(iter(argv[place + 1 :]), "")
            for key in _keys_of_file(Path(path)):
                _refuse_unknown_key(key, valid, where=f" in {path}")
        elif name not in PARSER_OPTIONS:
            _refuse_unknown_key(name.removesuffix("+"), valid, where="")


def _keys_of_file(path: Path) -> list[str]:
    if not path.is_file():
        raise PDEConvError(f"no configuration file at {str(path)!r}; configs/*.yaml holds ready ones")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise PDEConvError(f"{path} is not a text file: {error}") from error
    except yaml.YAMLError as error:
        raise PDEConvError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise PDEConvError(f"{path} should hold 'key: value' lines")
    return _flatten(content)


def _flatten(content: dict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in content.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += _flatten(value, f"{prefix}{name}.")
    return keys


def _refuse_unknown_key(key: str, valid: dict[str, Any], where: str) -> None:
    free = [name for name, kind in valid.items() if get_origin(kind) is dict]  # whoever reads them knows their keys
    if key not in valid and not any(key.startswith(f"{name}.") for name in free):
        parent, _, last = key.rpartition(".")
        place = next((name for name in free if name.rpartition(".")[0] == parent), None)
        other = "" if place is None else f" What has no key of its own is given as '{place}.{last}'."
        raise PDEConvError(f"unknown key {key!r}{where}; {nearest(key, valid)}{other}")


def nearest(key: str, valid: Sequence[str] | dict[str, Any]) -> str:
    """'did you mean …?' with the valid key most like ``key``: whole dotted names first, then their last parts."""
    last = {name.rpartition(".")[2]: name for name in reversed(list(valid))}
    matches = [last[key]] if key in last else difflib.get_close_matches(key, list(valid), n=1, cutoff=0.75)
    matches = matches or [last[m] for m in difflib.get_close_matches(key.rpartition(".")[2], list(last), n=1)]
    matches = matches or difflib.get_close_matches(key, list(valid), n=1, cutoff=0.0)
    return f"did you mean {matches[0]!r}?" if matches else "--help lists the valid ones"


def _one_line(kind: type, error: Exception, usage: str) -> str:
    text = str(error)
    named = re.findall(r'Parser key "([\w.]+)"', text)
    given = re.search(r"(?:Got value|Given value): (.*)", text)
    valid = valid_keys(kind)
    if named and named[-1] in valid and given:
        received = given.group(1).strip().strip("'\"")
        return f"{named[-1]}: expected {describe(valid[named[-1]])}, got {received!r}"
    if named and named[-1] in valid and "Unable to load config" in text:
        nested = next(iter(valid_keys(valid[named[-1]], named[-1] + ".")))
        return f"{named[-1]}: expected {describe(valid[named[-1]])}, such as {nested}"
    if match := re.search(r"following arguments are required: (.*)", text):
        return f"missing: {match.group(1)}; usage: {usage}"
    return text


def describe(kind: Any) -> str:
    """A type in words: ``int | None`` is 'int or null'."""
    if get_origin(kind) is Literal:
        return ("one of " if len(get_args(kind)) > 1 else "") + ", ".join(str(value) for value in get_args(kind))
    if kind is type(None):
        return "null"
    if get_origin(kind) is tuple:
        return "[" + ", ".join(describe(part) for part in get_args(kind)) + "]"
    if get_origin(kind) is dict:
        return "names and values, such as {name: 1}"
    if get_origin(kind) is list:
        return f"a list of {describe(get_args(kind)[0])}"
    if get_args(kind):
        return " or ".join(describe(part) for part in get_args(kind))
    if dataclasses.is_dataclass(kind):
        return "keys and values"
    return {float: "a number", bool: "true or false", int: "a whole number", str: "text"}.get(kind, str(kind))
