import errno
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gcnlab import files
from gcnlab.errors import CheckpointCorruptError, CorruptFileError, InputError, InputTypeError
from gcnlab.files import atomic_write, is_writable, lock, read_arrays, remove_stale_temporaries, sha256_of, write_arrays


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def run_python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, **options)


# -- the container ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", files.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7,), (5, 3, 2)], ids=str)
def test_round_trip_of_every_dtype_and_shape(tmp_path, dtype, shape):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (*shape, dtype.itemsize), generator=generator, dtype=torch.uint8)
    tensor = (raw % 2).view(torch.bool)[..., 0] if dtype == torch.bool else raw.view(dtype)[..., 0]
    write_arrays(tmp_path / "a", {}, {"t": tensor, "after": torch.arange(3)})
    header, arrays = read_arrays(tmp_path / "a")
    assert header == {}
    assert arrays["t"].dtype == dtype
    assert arrays["t"].shape == tensor.shape
    assert torch.equal(bits(arrays["t"]), bits(tensor))  # every bit, those of NaN too
    assert arrays["after"].tolist() == [0, 1, 2]


def test_round_trip_of_views_and_header(tmp_path):
    base = torch.arange(42.0).reshape(6, 7)
    arrays = {
        "transposed": base.T,
        "strided": base[::2, 1::3],
        "expanded": base[:, :1].expand(6, 5),
        "with grad": base.clone().requires_grad_(),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "ß/strange name": torch.tensor(-0.0),
    }
    header = {"epoch": 3, "nested": {"list": [1, 2.5, None, True, "ß"]}, "big": 2**80}
    write_arrays(tmp_path / "a", header, arrays)
    found_header, found = read_arrays(tmp_path / "a")
    assert found_header == header
    assert list(found) == list(arrays)
    for name, tensor in arrays.items():
        assert torch.equal(found[name], tensor.detach()), name
    assert torch.signbit(found["ß/strange name"])
    found["strided"].add_(1)  # one's own memory, writable
    assert torch.equal(read_arrays(tmp_path / "a")[1]["strided"], arrays["strided"])


@given(st.dictionaries(st.text(), st.lists(st.floats(width=32)), max_size=4))
def test_round_trip_of_any_names(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("arrays") / "a"
    write_arrays(path, {}, {name: torch.tensor(values, dtype=torch.float32) for name, values in content.items()})
    found = read_arrays(path)[1]
    assert {name: bits(tensor).tolist() for name, tensor in found.items()} == {
        name: bits(torch.tensor(values, dtype=torch.float32)).tolist() for name, values in content.items()
    }


def test_arrays_are_aligned_to_be_mapped(tmp_path):
    write_arrays(tmp_path / "a", {}, {"one": torch.zeros(3, dtype=torch.uint8), "two": torch.full((5,), 7.0)})
    content = (tmp_path / "a").read_bytes()
    assert content.index(struct.pack("<5f", *[7.0] * 5)) % 64 == 0


def test_every_flip_truncation_and_addition_is_found(tmp_path):
    path = tmp_path / "a"
    write_arrays(path, {"epoch": 3}, {"w": torch.arange(5.0), "flag": torch.tensor(True)})
    content = path.read_bytes()
    rng = random.Random(0)
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
        with pytest.raises(CorruptFileError):
            read_arrays(path)
        path.write_bytes(content[:at])
        with pytest.raises(CorruptFileError):
            read_arrays(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CorruptFileError, match=r"cut short or changed") as raised:
        read_arrays(path)
    assert raised.value.file == str(path)
    with pytest.raises(CheckpointCorruptError, match=r"cut short or changed"):
        read_arrays(path, CheckpointCorruptError)


@pytest.mark.parametrize(
    "index",
    [
        b"not json",
        b"[" * 100_000,
        [],
        {"header": {}},
        {"header": None, "arrays": []},
        {"header": {}, "arrays": [{"name": "w", "dtype": "float32", "shape": [2**40], "offset": 0}]},
        {"header": {}, "arrays": [{"name": "w", "dtype": "float32", "shape": [1], "offset": -8}]},
        {"header": {}, "arrays": [{"name": "w", "dtype": "float32", "shape": [-1], "offset": 0}]},
        {"header": {}, "arrays": [{"name": "w", "dtype": "float32", "shape": [True], "offset": 0}]},
        {"header": {}, "arrays": [{"name": "w", "dtype": "load", "shape": [1], "offset": 0}]},
        {"header": {}, "arrays": [{"name": [], "dtype": "float32", "shape": [1], "offset": 0}]},
    ],
    ids=str,
)
def test_a_whole_file_with_a_lying_index_is_refused(tmp_path, index):
    index = index if isinstance(index, bytes) else json.dumps(index).encode()
    body = struct.pack("<Q", len(index)) + index + bytes(128)
    (tmp_path / "a").write_bytes(files.MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    with pytest.raises(CorruptFileError, match=r"index cannot be read"):
        read_arrays(tmp_path / "a")


def test_what_the_format_does_not_hold_is_refused(tmp_path):
    with pytest.raises(InputTypeError, match=r"'s' is a torch.sparse_coo tensor"):
        write_arrays(tmp_path / "a", {}, {"s": torch.eye(2).to_sparse()})
    with pytest.raises(InputTypeError, match=r"of float8_e5m2; expected"):
        write_arrays(tmp_path / "a", {}, {"s": torch.zeros(2, dtype=torch.float8_e5m2)})
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a")


def test_sha256_of(tmp_path):
    content = random.Random(0).randbytes((1 << 20) + 17)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()


# -- atomic writes ----------------------------------------------------------------------------------------------------


def test_a_write_that_raises_changes_nothing(tmp_path):
    path = tmp_path / "folder" / "a"
    with atomic_write(path) as file:
        file.write(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:  # noqa: PT012
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_full_disk_leaves_the_old_file(tmp_path, trials):
    code = """
import resource, sys, torch
from gcnlab.files import write_arrays
path = sys.argv[1]
write_arrays(path, {}, {"w": torch.zeros(10)})
for size in (3_000, 30_000, 300_000, 3_000_000, *range(600, 10_000, 1_600)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500, resource.RLIM_INFINITY))
    try:
        write_arrays(path, {}, {"w": torch.ones(size)})
    except OSError as error:
        assert error.filename == path and "nothing was changed" in str(error), error
    else:
        raise SystemExit("no error")
"""
    trials("full disk while writing", 10, 10)
    assert run_python(code, tmp_path / "a").wait(60) == 0
    assert names(tmp_path) == ["a"]
    assert torch.equal(read_arrays(tmp_path / "a")[1]["w"], torch.zeros(10))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_kill_while_writing_leaves_the_old_or_the_new_file(tmp_path, trials):
    code = """
import sys, torch
from gcnlab.files import write_arrays
for step in range(10**9):
    write_arrays(sys.argv[1], {"step": step}, {"w": torch.full((1_000_000,), float(step))})
    print(step, flush=True)
"""
    rng = random.Random(0)
    for _ in range(trials("kill -9 while writing arrays", 4, 20)):
        process = run_python(code, tmp_path / "a", stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
        header, arrays = read_arrays(tmp_path / "a")
        assert bool((arrays["w"] == header["step"]).all())
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == ["a"]


def test_stale_temporaries_go_and_living_ones_stay(tmp_path):
    stale = tmp_path / f".a.0123{files._TEMPORARY_SUFFIX}"
    stale.write_bytes(b"half")
    (tmp_path / ".a.tmp").write_bytes(b"the user's own")
    with atomic_write(tmp_path / "a") as file:
        assert not stale.exists()
        file.write(b"1")
        with atomic_write(tmp_path / "b") as other:
            other.write(b"2")
    assert names(tmp_path) == [".a.tmp", "a", "b"]
    assert (tmp_path / "a").read_bytes() == b"1"


def test_writers_of_one_path_do_not_meet(tmp_path):
    errors = []

    def write(value):
        try:
            for _ in range(20):
                write_arrays(tmp_path / "a", {"value": value}, {"w": torch.full((100,), float(value))})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(value,)) for value in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    header, arrays = read_arrays(tmp_path / "a")
    assert arrays["w"].tolist() == [header["value"]] * 100
    assert names(tmp_path) == ["a"]


# -- the lock ---------------------------------------------------------------------------------------------------------


def test_lock_waits_for_a_process_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "_WAIT_MESSAGE_SECONDS", 0.2)
    code = """
import sys, time
from gcnlab.files import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
    print("done", time.time(), flush=True)
"""
    process = run_python(code, tmp_path / "new", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    threading.Timer(0.5, lambda: (process.stdin.write("\n"), process.stdin.flush())).start()
    with lock(tmp_path / "new"):
        entered = time.time()
    left = float(process.communicate()[0].split()[1])
    assert entered >= left
    assert "waiting for another process that holds" in capsys.readouterr().err


def test_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import sys, time; from gcnlab.files import lock\nwith lock(sys.argv[1]): print(1, flush=True); time.sleep(60)"
    )
    process = run_python(code, tmp_path, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.kill()
    process.communicate()
    with lock(tmp_path):
        pass


def test_lock_excludes_threads(tmp_path):
    inside, most = 0, 0

    def enter():
        nonlocal inside, most
        with lock(tmp_path):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write bit")
def test_a_read_only_folder_needs_no_lock(tmp_path):
    assert is_writable(tmp_path / "not" / "yet" / "there")
    os.chmod(tmp_path, 0o555)
    try:
        assert not is_writable(tmp_path)
        assert not is_writable(tmp_path / "not" / "yet" / "there")
        with lock(tmp_path), lock(tmp_path):
            pass
        assert names(tmp_path) == []
    finally:
        os.chmod(tmp_path, 0o755)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """Writes are atomic all the same; any other failure of a lock is one."""

    def fails_with(number):
        def try_lock(file):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files, "_try_lock", try_lock)

    for number in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        fails_with(number)
        with lock(tmp_path), atomic_write(tmp_path / "a") as file:
            file.write(b"%d" % number)
        assert (tmp_path / "a").read_bytes() == b"%d" % number
    fails_with(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), lock(tmp_path):
        pass
    assert names(tmp_path) == [".lock", "a"]


def test_a_temporary_taken_for_a_stale_one_gets_a_new_name(tmp_path, monkeypatch):
    real, calls = files._try_lock, []

    def try_lock(file):
        calls.append(file.name)
        if len(calls) == 1:
            os.unlink(file.name)  # as another writer does between open and lock
        return real(file)

    monkeypatch.setattr(files, "_try_lock", try_lock)
    with atomic_write(tmp_path / "a") as file:
        file.write(b"1")
    assert len(set(calls)) == 2
    assert names(tmp_path) == ["a"]


def test_an_array_of_fewer_parts_than_its_shape(tmp_path):
    with pytest.raises(InputError, match=r"a.npy: got 3 values, expected 4 for shape \(4,\)"):
        files.write_array(tmp_path / "a.npy", torch.float32, (4,), [torch.ones(3)])
    assert names(tmp_path) == []
