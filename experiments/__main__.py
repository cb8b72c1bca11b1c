"""`jaxprune COMMAND ...`, the same as `python -m experiments.COMMAND ...`."""

import sys
from importlib import import_module

from experiments.command import run_command
from jaxprune.errors import unknown_name

COMMANDS = {
    "sweep": "train, prune, attack and certify a population",
    "audit": "prune, certify and attack one policy, and say on one page what came out",
    "attack": "attack a population, or one agent, as hard as can be",
    "certify": "certify a population, or one agent, and audit what pruning did to it",
    "shift": "measure a population, or one agent, under shifted dynamics",
    "watch": "show members of a run, or one agent, clean and attacked, as a video",
    "export": "write a policy as safetensors, ONNX and NumPy, with a card of what is known of it",
    "report": "make the page of one run or several anew",
    "merge": "put finished sweeps of different seeds together into one",
}


def main() -> None:
    """Hand the command line to the command it names."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: jaxprune COMMAND [OPTIONS], or jaxprune COMMAND --help\n")
        print("\n".join(f"  {name:8} {about}" for name, about in COMMANDS.items()))
        sys.exit(0 if len(sys.argv) > 1 else 2)
    name = sys.argv.pop(1)
    if name not in COMMANDS:
        print(f"error: {unknown_name('command', name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    command = import_module(f"experiments.{name}")
    sys.argv[0] = str(command.__file__)
    run_command(command.Arguments, command.main, getattr(command, "from_preset", None))


if __name__ == "__main__":
    main()
