"""The commands of pdeconv: python -m pdeconv COMMAND …"""

import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module

import pdeconv

COMMANDS = {
    "denoise": "pdeconv.denoise_files",
    "classify": "pdeconv.classify_files",
    "explore": "pdeconv.explore_files",
    "report": "pdeconv.report_files",
    "decompose": "pdeconv.decompose_files",
    "identify": "pdeconv.identify_files",
}
"""Name of a command, and the module whose ``main`` does it."""


def main(argv: Sequence[str]) -> int:
    """Run the command that ``argv`` begins with; returns the exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m pdeconv COMMAND ...\n\ncommands (COMMAND --help says more):")
        for name, module in COMMANDS.items():
            print(f"  {name:<10} {str(import_module(module).__doc__).splitlines()[0]}")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(pdeconv.__version__)
        return 0
    if argv[0] not in COMMANDS:
        near = get_close_matches(argv[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the commands are {', '.join(COMMANDS)}"
        print(f"python -m pdeconv: there is no command {argv[0]!r}; {hint}", file=sys.stderr)
        return 2
    command: Callable[[Sequence[str]], int] = import_module(COMMANDS[argv[0]]).main
    return command(argv[1:])


if __name__ == "__main__":
    try:
        from pdeconv.training.command_line import run_program
    except ModuleNotFoundError as error:
        sys.exit(
            f"python -m pdeconv needs the package {error.name}; install what it uses: pip install 'pdeconv[train]'"
        )
    run_program("python -m pdeconv", lambda: main(sys.argv[1:]))
