import json
from dataclasses import dataclass

import pytest

import gcnlab
from gcnlab import finished
from gcnlab.errors import InputError


@dataclass(frozen=True)
class Job:
    model: str
    seed: int
    data: str
    threads: int


def entry(key, value):
    return json.dumps({"job": key, "result": {"value": value}}).encode() + b"\n"


def test_a_key_holds_settings_data_and_version(monkeypatch):
    job = Job("gcn", 3, "abc", 8)
    key = finished.key_of(job, ["threads"])
    assert json.loads(key) == {"model": "gcn", "seed": 3, "data": "abc", "gcnlab": gcnlab.__version__}
    assert finished.key_of(Job("gcn", 3, "abc", 1), ["threads"]) == key
    others = {finished.key_of(other, ["threads"]) for other in (Job("mlp", 3, "abc", 8), Job("gcn", 3, "abd", 8))}
    monkeypatch.setattr(finished, "__version__", "0.9")
    assert len({key, *others, finished.key_of(job, ["threads"])}) == 4


def test_a_last_line_that_was_cut_short_is_dropped_and_written_again(tmp_path):
    path = tmp_path / "out" / "log"
    assert finished.read(path, "a model", ["value"]) == finished.read(None, "a model", ["value"]) == {}
    finished.add(path, "a", {"value": 1})
    finished.add(path, "b", {"value": 2})
    first, second = entry("a", 1), entry("b", 2)
    assert path.read_bytes() == first + second
    for end in range(len(second)):
        torn = first + second[:end]
        for after in (b"", b"\0\0", b"\xff"):  # a file system may fill a block that was not written
            path.write_bytes(torn + after)
            whole = end == len(second) - 1 and not after
            assert finished.read(path, "a model", ["value"]) == {"a": {"value": 1}} | (
                {"b": {"value": 2}} if whole else {}
            )
            finished.add(path, "c", {"value": 3})
            assert path.read_bytes() == first + (second if whole else b"") + entry("c", 3)
            assert len(finished.read(path, "a model", ["value"])) == 2 + whole


@pytest.mark.parametrize(
    "line", [b"not json", b"{}", b"[]", b'{"job": "x", "result": {}}', b'{"job": "x", "result": 1}']
)
def test_a_line_that_is_no_result_is_named(tmp_path, line):
    path = tmp_path / "log"
    for after in (b"\n", b"\n" + entry("b", 2)):
        path.write_bytes(entry("a", 1) + line + after)
        with pytest.raises(InputError, match=r"log, line 2: is no result of a model; delete the line"):
            finished.read(path, "a model", ["value"])


def test_results_of_other_data_or_another_version_are_told(tmp_path, monkeypatch, recwarn):
    jobs = [Job("gcn", seed, "new", 1) for seed in range(3)]
    missing = [finished.key_of(job, ["threads"]) for job in jobs]
    finished.warn_of_others(tmp_path, ["x", "3", "[]", finished.key_of(Job("mlp", 0, "old", 1), ["threads"])], missing)
    assert not recwarn
    known = [finished.key_of(Job("gcn", 0, "old", 1), ["threads"]), json.dumps({"model": "gcn", "seed": 1})]  # 1.0's
    with pytest.warns(UserWarning, match="2 of its results are of other data or of another version of gcnlab"):
        finished.warn_of_others(tmp_path, known, missing)


def test_a_full_disk_takes_no_result(tmp_path):
    (tmp_path / "log").mkdir()  # which cannot be written, as a full disk
    with pytest.warns(UserWarning, match="log: a result is not kept there, and will be made again"):
        finished.add(tmp_path / "log", "a", {})
    files = finished.Files(tmp_path)
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
