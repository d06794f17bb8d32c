"""The scripts of `gcnlab completion`, run by the shells themselves; those of a shell that is not here are skipped."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest
from test_cli import gcnlab  # noqa: F401 (a fixture)

from gcnlab.cli import main
from gcnlab.data import catalog
from gcnlab.recipes import RECIPES

pytest.importorskip("shtab")

FILES = {"bash": "gcnlab.bash", "zsh": "_gcnlab", "fish": "gcnlab.fish"}
COMMANDS = {"run", "predict", "summary", "compare", "bench", "doctor", "completion", "data"}
NODE_RECIPES = {name for name in RECIPES if name.startswith("cora-")}
TYPED = {
    "commands": ("gcnlab ", COMMANDS),
    "command": ("gcnlab r", {"run"}),
    "recipe": ("gcnlab run cora-", NODE_RECIPES),
    "recipe of summary": ("gcnlab summary kar", {"karate-gcn"}),
    "option": ("gcnlab run cora-gcn --prot", {"--protocol"}),
    "choices": ("gcnlab run cora-gcn --device ", {"cpu", "cuda"}),
    "protocol": ("gcnlab run cora-gcn --seeds 3 --protocol ne", {"nested"}),
    "data set": ("gcnlab run cora-gcn --dataset pub", {"pubmed"}),
    "data set of bench": ("gcnlab bench c", {"cora", "citeseer"}),
    "action": ("gcnlab data ", {"list", "fetch", "verify"}),
    "name": ("gcnlab data fetch imdb", {"imdb-binary", "imdb-multi"}),
    "second name": ("gcnlab data fetch cora imdb-m", {"imdb-multi"}),
    "shell": ("gcnlab completion ", {"bash", "zsh", "fish"}),
    "file": ("gcnlab predict mod", {"model.gcnlab"}),
    "name or file": ("gcnlab predict model.gcnlab --data m", {"minesweeper", "mutag", "mnist", "model.gcnlab"}),
    "image set or file": ("gcnlab compare m", {"mnist", "model.gcnlab"}),
    "folder": ("gcnlab run cora-gcn --out ru", {"runs"}),
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The folder of the scripts, with a file and a folder beside them."""
    folder = tmp_path_factory.mktemp("completion")
    for shell, name in FILES.items():
        with open(folder / name, "w") as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", file)
            assert main(["completion", shell]) == 0
    (folder / "model.gcnlab").touch()
    (folder / "runs").mkdir()
    return folder


def shell(name, *arguments, **options):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not here")
    done = subprocess.run([shutil.which(name), *arguments], capture_output=True, text=True, timeout=60, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(("line", "expected"), TYPED.values(), ids=TYPED)
def test_bash(scripts, line, expected):
    code = """
        source ./gcnlab.bash
        read -ra COMP_WORDS <<< "$1"
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _shtab_gcnlab
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    # without a PATH: a TAB starts no program, Python least of all
    replies = shell("bash", "--norc", "-c", code, "bash", line, cwd=scripts, env={"PATH": "/nowhere"})
    assert set(replies) == expected
    assert len(replies) == len(expected)


@pytest.mark.parametrize(("line", "expected"), TYPED.values(), ids=TYPED)
def test_fish(scripts, line, expected):
    code = "source ./gcnlab.fish; complete -C $argv[1]"
    home = {**os.environ, "HOME": str(scripts), "XDG_CONFIG_HOME": str(scripts), "XDG_DATA_HOME": str(scripts)}
    replies = shell("fish", "--no-config", "-c", code, line, cwd=scripts, env=home)
    assert {reply.split("\t")[0].removesuffix("/") for reply in replies} == expected


ZSH = r"""
fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D
compadd() {  # notes what is added
  if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
    local -a found; builtin compadd -O found "$@"; offered+=($found)
  fi
  builtin compadd "$@"
}
offer() { typeset -ga offered=(); zle complete-word; print -r -- "<${offered[*]}>"; BUFFER=; }
zle -N offer; bindkey '^I' offer
echo rea""dy
"""


@pytest.fixture(scope="module")
def zsh(scripts):
    """Types a line and TAB into an interactive zsh, which alone completes, and returns what it offers."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not here")
    master, slave = pty.openpty()
    (scripts / "setup").write_text(ZSH)
    process = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=slave, stdout=slave, stderr=slave, cwd=scripts, start_new_session=True,
        env={"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(scripts)},
    )  # fmt: skip
    os.close(slave)

    def answer(typed, pattern):
        os.write(master, typed.encode())
        text, end = "", time.monotonic() + 60
        while not (found := re.search(pattern, text)):
            assert select.select([master], [], [], max(end - time.monotonic(), 0))[0], text
            text += os.read(master, 4096).decode(errors="replace")
        return found

    answer("source ./setup\n", "ready")
    yield lambda line: answer(f"{line}\t", "<(.*)>")[1].split()
    process.kill()
    process.wait()
    os.close(master)


@pytest.mark.parametrize(
    "case", sorted(TYPED.keys() - {"second name"})
)  # which shtab's script for zsh does not complete
def test_zsh(zsh, case):
    line, expected = TYPED[case]
    assert {offered.partition(":")[0] for offered in zsh(line)} == expected


def test_every_name_is_there(scripts):
    for name in FILES.values():
        words = set(re.findall(r"[\w-]+", (scripts / name).read_text()))
        assert words >= {*RECIPES, *catalog()}


def test_without_shtab(gcnlab, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "shtab", None)
    status, said, wrong = gcnlab("completion", "bash")
    assert (status, said) == (2, "")
    assert wrong.startswith("gcnlab: shell: completion needs the package shtab")
    assert wrong.count("\n") == 1
