"""Completion of the command `gcnlab` in a shell: a script made from its parser, which runs no Python when TAB is hit."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from .bench import datasets
from .checks import check_package
from .compare import contenders
from .data import catalog
from .recipes import RECIPES


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell: subcommands, options, and values that are known beforehand, such as recipes' names.

    It changes the parser, which is of no further use.

    Raises InputError where the package shtab, which makes the script, is missing.
    """
    shtab = check_package("shell: completion", "shtab")
    images = [name for name, entry in catalog().items() if entry["task"] == "image classification"]
    choices: dict[str, Iterable[str]] = {
        "recipe": RECIPES,
        "dataset": catalog(),
        "gcnlab bench dataset": datasets(),
        "name": catalog(),
        "protocol": dict.fromkeys(protocol for recipe in RECIPES.values() for protocol in recipe.protocols),
        "models": contenders(),
    }
    complete: dict[str, Any] = {
        "data": _names_or_file("data", catalog()),
        "what": _names_or_file("what", images),
        "checkpoint": shtab.FILE,
        "FILE": shtab.FILE,
        "DIR": shtab.DIRECTORY,
    }
    for command, action in _actions(parser):
        names = (f"{command} {action.dest}", action.dest, str(action.metavar))
        if known := next((choices[name] for name in names if name in choices), None):
            action.choices = list(known)
        elif (how := next((complete[name] for name in names if name in complete), None)) is not None:
            action.complete = how  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield parser.prog, action


def _names_or_file(argument: str, names: Iterable[str]) -> dict[str, Any]:
    """What shtab calls the completion of an argument: for each shell how, and what the script must define before."""
    function, words = f"_gcnlab_{argument}_or_file", " ".join(names)
    return {
        "bash": function,
        "zsh": function,
        "fish": f"{words} (__fish_complete_path (commandline -ct))",
        "preamble": {
            "bash": f'{function}() {{\n  compgen -W "{words}" -- "$1"\n  compgen -f -- "$1"\n}}',
            "zsh": f"{function}() {{\n  _alternative 'names:name:({words})' 'files:file:_files'\n}}",
        },
    }
