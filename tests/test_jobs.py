import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

import gcnlab
from gcnlab import jobs
from gcnlab.compare import ModelJob
from gcnlab.errors import CorruptFileError
from gcnlab.jobs import Finished
from gcnlab.protocols import FoldJob, Settings
from gcnlab.recipes.outputs import Outputs


@dataclass(frozen=True)
class Job(jobs.Job):
    model: str
    seed: int = 0
    data: str = "abc"
    threads: int = 8

    not_in_key: ClassVar[tuple[str, ...]] = ("threads",)


A, B, C = Job("a"), Job("b"), Job("c")


def read(path):
    return Finished(path, "a model", {"value": float})


def entry(job, value):
    return json.dumps({"job": job.key(), "result": {"value": value}}).encode() + b"\n"


def test_a_key_holds_settings_data_and_version(monkeypatch):
    job = Job("gcn", 3, "abc", 8)
    key = job.key()
    assert json.loads(key) == {"model": "gcn", "seed": 3, "data": "abc", "gcnlab": gcnlab.__version__}
    assert Job("gcn", 3, "abc", 1).key() == key
    others = {other.key() for other in (Job("mlp", 3, "abc", 8), Job("gcn", 3, "abd", 8))}
    monkeypatch.setattr(jobs, "__version__", "0.9")
    assert len({key, *others, job.key()}) == 4


def test_the_keys_of_stored_results_stay_what_they_are(monkeypatch):
    """As they stand in files of folds and models: other texts would train all of them again."""
    monkeypatch.setattr(jobs, "__version__", "1.0.0")
    fold = FoldJob("mutag", {"features": "label"}, "gin", 2, (Settings(),), 1, "root", "cuda", "m", "t", "abc")
    assert fold.key() == (
        '{"data": "abc", "dataset": "mutag", "features": {"features": "label"}, "fold": 2, "gcnlab": "1.0.0", "grid": '
        '[{"batch_size": 128, "dropout": 0.5, "epochs": 350, "halve_lr_every": 50, "head_layers": 1, "hidden_channels": '
        '64, "jumping_knowledge": "cat", "lr": 0.01, "model": "gcn", "num_layers": 4, "patience": 30, "readout": "mean"}], '
        '"protocol": "gin", "seed": 1}'
    )
    assert ModelJob("digits", "relational", 3, 1, 100, "root", 2, "abc").key() == (
        '{"data": "abc", "dataset": "digits", "epochs": 3, "gcnlab": "1.0.0", "model": "relational", "num_images": 100, '
        '"seed": 1}'
    )


def test_a_last_line_that_was_cut_short_is_dropped_and_written_again(tmp_path):
    path = tmp_path / "out" / "log"
    assert read(path).results == read(None).results == {}
    finished = read(path)
    finished.add(A, {"value": 1})
    finished.add(B, {"value": 2})
    first, second = entry(A, 1), entry(B, 2)
    assert path.read_bytes() == first + second
    assert finished.results == read(path).results
    assert finished[B] == {"value": 2}
    for end in range(len(second)):
        torn = first + second[:end]
        for after in (b"", b"\0\0", b"\xff"):  # a file system may fill a block that was not written
            path.write_bytes(torn + after)
            whole = end == len(second) - 1 and not after
            finished = read(path)
            assert (A in finished, B in finished) == (True, whole)
            finished.add(C, {"value": 3})
            assert path.read_bytes() == first + (second if whole else b"") + entry(C, 3)
            assert len(read(path).results) == 2 + whole


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not json", "Expecting value"),
        (b"{}", "it has no job, expected a string"),
        (b"[]", "expected names and values"),
        (b'{"job": "x", "result": {}}', "it has no value, expected a finite number"),
        (b'{"job": "x", "result": 1}', "result is 1, expected a dict"),
        (b'{"job": "x", "result": {"value": "abc"}}', "value is 'abc', expected a finite number"),
        (b'{"job": "x", "result": {"value": NaN}}', "value is nan, expected a finite number"),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path, line, message):
    path = tmp_path / "log"
    for after in (b"\n", b"\n" + entry(B, 2)):
        path.write_bytes(entry(A, 1) + line + after)
        with pytest.raises(CorruptFileError, match=rf"log, line 2: is no result of a model .*{message}"):
            read(path)
    path.write_bytes(entry(A, 1) + line)  # cut short, as far as one can tell
    assert list(read(path).results) == [A.key()]


def test_results_of_other_data_or_another_version_are_told(tmp_path, monkeypatch, recwarn):
    finished, wanted = read(tmp_path / "log"), [Job("gcn", seed, "new") for seed in range(3)]
    finished.results = {key: {} for key in ("x", "3", "[]", Job("mlp", 0, "old").key())}
    finished.warn_of_others(wanted)
    assert not recwarn
    old = json.dumps({"model": "gcn", "seed": 1})  # 1.0's
    finished.results = {key: {} for key in (Job("gcn", 0, "old").key(), old, wanted[2].key())}
    with pytest.warns(UserWarning, match="2 of its results are of other data or of another version of gcnlab"):
        finished.warn_of_others(wanted)


def test_a_full_disk_takes_no_result(tmp_path):
    finished = read(tmp_path / "log")
    (tmp_path / "log").mkdir()  # which cannot be written, as a full disk
    with pytest.warns(UserWarning, match="log: a result is not kept there, and will be made again"):
        finished.add(A, {"value": 1})
    assert finished[A] == {"value": 1}
    files = Outputs(tmp_path)
    (tmp_path / "b").write_text("old")
    with files.writing("a") as path:
        path.write_text("new")
    with (
        pytest.warns(UserWarning, match=r"b was not written; the numbers stand \(OSError: full\); what is there is of"),
        files.writing("b"),
    ):
        raise OSError("full")
    assert files.written == ["a"]
    with pytest.raises(KeyboardInterrupt), files.writing("c"):
        raise KeyboardInterrupt
