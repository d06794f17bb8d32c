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
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize, safe_open

from gcnlab import files
from gcnlab.errors import CheckpointCorruptError, CorruptFileError, InputError, InputTypeError
from gcnlab.files import atomic_write, is_writable, lock, read_arrays, remove_stale_temporaries, sha256_of, write_arrays

OF_1_0 = Path(__file__).parent / "files-1.0"  # what gcnlab 1.0.0 wrote


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def run_python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, **options)


def read_by_safetensors(path):
    """Metadata and arrays as the package `safetensors` reads them."""
    with safe_open(path, framework="pt") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name in json.loads(metadata.get("complex128", "[]")):
        arrays[name] = torch.view_as_complex(arrays[name])
    return metadata, arrays


def assert_same_arrays(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(bits(found[name]), bits(tensor)), name  # those of NaN, too


def sealed(entries, data=b"", metadata='{"sha256": "%s", "gcnlab": "{}"}', length=None):
    """A file whose sha256 is right, whatever its entries say: a dict, or the text behind the metadata."""
    entries = ", " * bool(entries) + json.dumps(entries)[1:-1] if isinstance(entries, dict) else entries
    text = ('{"__metadata__": ' + metadata.replace("%s", "0" * 64) + entries + "}").encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + data
    return content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode(), 1)


# -- the container ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", files.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7,), (5, 3, 2)], ids=str)
def test_round_trip_of_every_dtype_and_shape(tmp_path, dtype, shape):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (*shape, dtype.itemsize), generator=generator, dtype=torch.uint8)
    tensor = (raw % 2).view(torch.bool)[..., 0] if dtype == torch.bool else raw.view(dtype)[..., 0]
    arrays = {"t": tensor, "after": torch.arange(3)}
    write_arrays(tmp_path / "a", {}, arrays)
    header, found = read_arrays(tmp_path / "a")
    assert header == {}
    assert_same_arrays(found, arrays)
    assert_same_arrays(read_by_safetensors(tmp_path / "a")[1], arrays)


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
    assert torch.signbit(found["ß/strange name"])
    dense = {name: tensor.detach().resolve_conj() for name, tensor in arrays.items()}
    assert_same_arrays(found, dense)
    metadata, found_by_safetensors = read_by_safetensors(tmp_path / "a")
    assert json.loads(metadata["gcnlab"]) == header
    assert_same_arrays(found_by_safetensors, dense)
    found["strided"].add_(1)  # one's own memory, writable
    assert torch.equal(read_arrays(tmp_path / "a")[1]["strided"], arrays["strided"])


@given(st.dictionaries(st.text(), st.lists(st.floats(width=32)), max_size=4))
def test_round_trip_of_any_names(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("arrays") / "a"
    arrays = {name: torch.tensor(values, dtype=torch.float32) for name, values in content.items()}
    write_arrays(path, {}, arrays)
    assert_same_arrays(read_arrays(path)[1], arrays)
    assert_same_arrays(read_by_safetensors(path)[1], arrays)


def test_arrays_are_aligned_to_be_mapped(tmp_path):
    arrays = {"one": torch.ones(3, dtype=torch.uint8), "two": torch.full((5,), 7.0), "three": torch.full((3,), 9)}
    write_arrays(tmp_path / "a", {}, arrays)
    content = (tmp_path / "a").read_bytes()
    assert content.index(struct.pack("<3q", 9, 9, 9)) % 64 == 0  # the widest come first
    assert content.index(struct.pack("<5f", *[7.0] * 5)) % 4 == 0
    assert list(read_arrays(tmp_path / "a")[1]) == list(arrays)


def test_a_file_states_the_sha256_of_all_its_bytes(tmp_path):
    write_arrays(tmp_path / "a", {"zeros": "0" * 64}, {"w": torch.arange(5.0), "0" * 64: torch.zeros(100)})
    content = (tmp_path / "a").read_bytes()
    stated = read_by_safetensors(tmp_path / "a")[0]["sha256"].encode()
    assert content.count(stated) == 1
    assert content[37:101] == stated
    assert hashlib.sha256(content.replace(stated, b"0" * 64)).hexdigest().encode() == stated
    write_arrays(tmp_path / "b", {"zeros": "0" * 64}, {"w": torch.arange(5.0), "0" * 64: torch.zeros(100)})
    assert (tmp_path / "b").read_bytes() == content


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


def f32(*shape, at=(0, 4), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(at)}


LYING = {  # entries, bytes of data, whether the package safetensors refuses them, too
    "no json": (', "w"', 0, True),
    "deep": (', "w": ' + "[" * 100_000, 0, True),
    "deep and whole": (', "w": ' + "[" * 100_000 + "]" * 100_000, 0, True),
    "a long number": (', "w": ' + "9" * 10_000, 0, True),
    "a text for an entry": ({"w": "F32"}, 0, True),
    "no offsets": ({"w": {"dtype": "F32", "shape": [1]}}, 4, True),
    "one offset": ({"w": f32(1, at=[0])}, 4, True),
    "outside the file": ({"w": f32(2**40, at=[0, 2**42])}, 4, True),
    "more numbers than 64 bits count": ({"w": f32(2**62, 2**62, at=[0, 4])}, 4, True),
    "sizes whose product takes minutes": ({"w": f32(*[10**9] * 500_000)}, 4, True),
    "empty, of a huge shape": ({"w": f32(2**70, 0, at=[0, 0])}, 0, True),
    "fewer bytes than its shape": ({"w": f32(2)}, 4, True),
    "more bytes than its shape": ({"w": f32(1, at=[0, 8])}, 8, True),
    "before the data": ({"w": f32(1, at=[-8, -4])}, 0, True),
    "backwards": ({"v": f32(1, at=[4, 0]), "w": f32(1, at=[0, 4])}, 4, True),
    "overlapping": ({"v": f32(1), "w": f32(1)}, 4, True),
    "overlapping in part": ({"v": f32(2, at=[0, 8]), "w": f32(2, at=[4, 12])}, 12, True),
    "a gap": ({"v": f32(1), "w": f32(1, at=[8, 12])}, 12, True),
    "a gap at the start": ({"w": f32(1, at=[4, 8])}, 8, True),
    "bytes of no array": ({"w": f32(1)}, 8, True),
    "a negative size": ({"w": f32(-1)}, 4, True),
    "sizes whose product is right": ({"w": f32(-1, -1)}, 4, True),
    "true for a size": ({"w": f32(True)}, 4, True),
    "true for an offset": ({"v": f32(1, at=[0, 1], dtype="U8"), "w": f32(1, at=[True, 2], dtype="U8")}, 2, True),
    "a fraction for an offset": ({"w": f32(1, at=[0.0, 4])}, 4, True),
    "an unknown dtype": ({"w": f32(1, dtype="load")}, 4, True),
    "a list for a dtype": ({"w": f32(1, dtype=["F32"])}, 4, True),
    "a dtype that gcnlab does not write": ({"w": f32(4, dtype="F8_E5M2")}, 4, False),
    "a name twice": (f', "w": {json.dumps(f32(1))}, "w": {json.dumps(f32(1, dtype="I32"))}', 4, False),
}


@pytest.mark.parametrize("name", LYING)
def test_a_whole_file_with_a_lying_index_is_refused(tmp_path, name):
    entries, num_bytes, is_malformed = LYING[name]
    content = sealed(entries, bytes(num_bytes))
    (tmp_path / "a").write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(CorruptFileError, match=r"a: its index cannot be read"):
        read_arrays(tmp_path / "a")
    assert time.perf_counter() - began < 1
    if is_malformed:
        with pytest.raises(SafetensorError):
            deserialize(content)
    else:
        deserialize(content)


@pytest.mark.parametrize(
    "metadata",
    [
        '{"sha256": "%s"}',
        '{"sha256": "%s", "gcnlab": "[]"}',
        '{"sha256": "%s", "gcnlab": null}',
        '{"sha256": "%s", "gcnlab": "' + "[" * 100_000 + '"}',
        '{"sha256": "%s", "gcnlab": {"epoch": 3}}',
        '{"sha256": "%s", "gcnlab": "{}", "gcnlab": "{}"}',
        '{"sha256": "%s", "gcnlab": "{}", "complex128": "[\\"w\\"]"}',
        '{"sha256": "%s", "gcnlab": "{}", "complex128": "[\\"none\\"]"}',
        '{"sha256": "%s", "gcnlab": "{}", "complex128": "3"}',
        '{"sha256": "%s", "gcnlab": "{}", "complex128": null}',
    ],
)
def test_a_whole_file_with_lying_metadata_is_refused(tmp_path, metadata):
    (tmp_path / "a").write_bytes(sealed({"w": f32(1)}, bytes(4), metadata))
    with pytest.raises(CorruptFileError, match=r"a: its index cannot be read"):
        read_arrays(tmp_path / "a")


@pytest.mark.parametrize("length", [0, 36, 100, 10**8 + 1, 2**63, 2**64 - 1])
def test_a_whole_file_with_a_lying_length_is_refused(tmp_path, length):
    (tmp_path / "a").write_bytes(sealed({"w": f32(1)}, bytes(4), length=length))
    with pytest.raises(CorruptFileError, match=r"a: its index cannot be read"):
        read_arrays(tmp_path / "a")


def test_what_sealed_makes_is_read(tmp_path):
    (tmp_path / "a").write_bytes(sealed({"w": f32(1)}, struct.pack("<f", 7)))
    assert read_arrays(tmp_path / "a") == ({}, {"w": torch.tensor([7.0])})


def test_safetensors_of_others_are_named(tmp_path):
    """They hold no sha256, so that a change would go unseen."""
    text = json.dumps({"w": f32(1)}).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(
        CorruptFileError, match=r"a: is not a file of gcnlab's arrays, which are safetensors with a sha256 in front"
    ):
        read_arrays(tmp_path / "a")


# -- the container of gcnlab 1.0 --------------------------------------------------------------------------------------


def as_1_0(header, arrays):
    """The bytes that gcnlab 1.0 wrote of a header and tensors."""
    index, data = [], b""
    for name, tensor in arrays.items():
        data += bytes(-len(data) % 64)
        index.append({"name": name, "dtype": str(tensor.dtype)[6:], "shape": list(tensor.shape), "offset": len(data)})
        data += bits(tensor).numpy().tobytes()
    return sealed_as_1_0({"header": header, "arrays": index}, data)


def sealed_as_1_0(index, data):
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    text += bytes(-(16 + 65 + 8 + len(text)) % 64)
    body = struct.pack("<Q", len(text.rstrip(b"\0"))) + text + data
    return b"gcnlab arrays 1\n" + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def test_files_of_1_0_are_read(tmp_path):
    header = {"epoch": 3, "note": "ß"}
    arrays = {
        "b/w": torch.arange(6.0).reshape(2, 3),
        "a": torch.tensor(True),
        "none": torch.empty(0, 2),
        "z": torch.tensor([1 + 2j], dtype=torch.complex128),
        "half": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    }
    found_header, found = read_arrays(OF_1_0 / "arrays.gcnlab")
    assert found_header == header
    assert list(found) == list(arrays)
    assert_same_arrays(found, arrays)
    assert as_1_0(header, arrays) == (OF_1_0 / "arrays.gcnlab").read_bytes()  # and so may stand for 1.0 elsewhere
    write_arrays(tmp_path / "a", found_header, found)  # what is written is of today
    assert_same_arrays(read_by_safetensors(tmp_path / "a")[1], arrays)


def test_every_flip_and_truncation_of_a_file_of_1_0_is_found(tmp_path):
    path, content = tmp_path / "a", (OF_1_0 / "arrays.gcnlab").read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        with pytest.raises(CorruptFileError):
            read_arrays(path)
        path.write_bytes(content[:at])
        with pytest.raises(CorruptFileError):
            read_arrays(path)


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
    ids=lambda index: str(index)[:60],
)
def test_a_whole_file_of_1_0_with_a_lying_index_is_refused(tmp_path, index):
    (tmp_path / "a").write_bytes(sealed_as_1_0(index, bytes(128)))
    with pytest.raises(CorruptFileError, match=r"index cannot be read"):
        read_arrays(tmp_path / "a")


def test_what_the_format_does_not_hold_is_refused(tmp_path):
    with pytest.raises(InputTypeError, match=r"'s' is a torch.sparse_coo tensor"):
        write_arrays(tmp_path / "a", {}, {"s": torch.eye(2).to_sparse()})
    with pytest.raises(InputTypeError, match=r"of float8_e5m2; expected"):
        write_arrays(tmp_path / "a", {}, {"s": torch.zeros(2, dtype=torch.float8_e5m2)})
    with pytest.raises(InputError, match=r"an array is called '__metadata__', which safetensors keeps for itself"):
        write_arrays(tmp_path / "a", {}, {"__metadata__": torch.zeros(2)})
    with pytest.raises(InputError, match=r"header and names take 100,000,184 bytes, .*; put long lists into tensors"):
        write_arrays(tmp_path / "a", {"long": "x" * 10**8}, {})
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
