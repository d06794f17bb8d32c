import inspect
import pickle

import pytest

from gcnlab import errors
from gcnlab.checks import check_counts
from gcnlab.errors import GcnlabError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GcnlabError)]
ARGUMENTS = {
    "DatasetFormatError": ("a/b", "is odd"),
    "UnsafeFileError": ("a/b", "os.system"),
    "ChecksumError": ("a/b", "12", "34"),
    "CorruptFileError": ("a/b", "cut short"),
    "CheckpointCorruptError": ("a/b", "cut short"),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_another_process_can_raise_them(kind):
    error = kind(*ARGUMENTS.get(kind.__name__, ("seeds: got 0",)))
    error.is_told = True
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) != ""
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(("count", "says"), [(0, "at least 1"), (-3, "at least 1"), (10**6 + 1, "at most 1,000,000")])
def test_check_counts(count, says):
    with pytest.raises(errors.InputError, match=f"^epochs: got {count}, expected {says}\\.$"):
        check_counts(seeds=1, epochs=count)
    check_counts(seeds=1, epochs=10**6, threads=None)
