"""What people give as names, features, labels and masks, read by one rule for every way into a Graph.

A pandas object follows the names in its index, everything else is in the order of the nodes. `docs/inputs.md` states the
rules as tables. Nothing here imports pandas: its objects bring what is needed of them.
"""

from __future__ import annotations

import decimal
import math
import numbers
import re
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import check_package
from .errors import InputError, InputTypeError

# How pandas, R, spreadsheets and UCI's files write a missing value as text.
MISSING_TEXTS = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
        "NaT",
        "?",
    ]
)
_NO_LABEL = -(2**63)
_NUMBER = re.compile(r"-?((0|[1-9][0-9]{0,300})(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,2})?", re.IGNORECASE)
_DOUBTFUL_TEXTS = frozenset(("unknown", "unlabelled", "unlabeled", "missing", "none", "undefined"))


def as_tensor(name: str, data: Any, expected: str) -> Tensor:
    """`data` as a tensor: itself if it is one, else a copy; floats in a list become torch's default dtype.

    A pandas object whose index names its rows is refused, since nothing here knows what they name.
    """
    if isinstance(data, Tensor):
        return data
    if is_table(data) and index_names(name, data.index) is not None:
        raise InputError(
            f"{name}: its index is not 0, 1, 2, ..., and it is read by position here; pass {name}.to_numpy() if it is in order."
        )
    try:
        if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
            raise ValueError(f"{int(np.ma.getmaskarray(data).sum())} values masked; fill them")
        array = np.asarray(data)
        if array.dtype.kind in "OUS":
            if odd := _what_is_no_number(array):
                raise ValueError(odd)
            array = np.asarray(array.tolist())  # numbers of several kinds, such as a table's columns
        tensor = torch.from_numpy(array.copy())
        is_list = isinstance(data, (list, tuple))
        return tensor.to(torch.get_default_dtype()) if is_list and tensor.is_floating_point() else tensor
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputTypeError(f"{name}: got {type(data).__name__} ({error}), expected {expected}.") from None


def numbered_as(y: Tensor, own_names: Sequence[Any], names: Sequence[Any]) -> Tensor:
    """Labels y of classes that have their own names, as numbers of `names`; -1 stays."""
    number = torch.tensor([names.index(name) if name in names else -1 for name in own_names], device=y.device)
    return torch.where(y < 0, -1, number[y.clamp(min=0)])


def own(tensor: Tensor) -> Tensor:
    """A copy that nobody else writes to, and that a training takes: never a tensor of torch.inference_mode."""
    with torch.inference_mode(False):
        return tensor.clone()


class Shared:
    """A tensor that is shared with whoever gave it, and how often it had been written to by then.

    A copy or a pickle of it watches the copy of the tensor.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = tensor, tensor._version

    def __reduce__(self) -> Any:
        return Shared, (self.tensor,)


def shared(tensor: Tensor) -> Shared | None:
    """None for a tensor that is learnt, which may be written to."""
    return None if tensor.requires_grad else Shared(tensor)


def check_unwritten(name: str, tensor: Tensor, known: Shared | None) -> None:
    """Raise InputError if the tensor has been written to since it was known. A learnt one may be."""
    if known is None or known.tensor is not tensor or known.version == tensor._version or tensor.requires_grad:
        return
    raise InputError(
        f"{name}: has been written to since it was given (a buffer that is used again?), and what was made of it is no "
        f"longer so; give a copy, {name}.clone(), or make it again from the new values."
    )


def _what_is_no_number(array: np.ndarray[Any, Any]) -> str:
    """Which of the values is text or another object, and where; empty where there is none."""
    for place, value in np.ndenumerate(array):
        if not _is_number(value) and not _is_bool(value):
            return repr(str(value) if isinstance(value, str) else value)[:60] + (
                f" at {place[0] if len(place) == 1 else list(place)}" if place else ""
            )
    return ""


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


def check_names(argument: str, names: Any) -> tuple[Any, ...]:
    """The names as a tuple of plain Python values, each of them once."""
    if isinstance(names, (str, bytes)):
        raise InputTypeError(f"{argument}: got the text {names!r}, expected a list with one name per place.")
    if isinstance(names, (Mapping, Set)):
        raise InputTypeError(
            f"{argument}: got a {type(names).__name__}, expected a list, whose order says which is which."
        )
    try:
        names = tuple(names.tolist() if hasattr(names, "tolist") else names)
    except TypeError:
        raise InputTypeError(f"{argument}: got {type(names).__name__}, expected a list of names.") from None
    odd = next((i for i, name in enumerate(names) if not isinstance(name, Hashable)), None)
    if odd is not None:
        raise InputTypeError(f"{argument}: name {odd} is a {type(names[odd]).__name__}, expected text or a number.")
    if len(set(names)) < len(names):
        twice, first, second = _repeated(names)
        raise InputError(f"{argument}: {twice!r} is given twice, at {first} and {second}; each name must occur once.")
    return names


def _repeated(names: Iterable[Any]) -> tuple[Any, int, int]:
    """The first name that occurs a second time, and both its places."""
    place: dict[Any, int] = {}
    for i, name in enumerate(names):
        if name in place:
            return name, place[name], i
        place[name] = i
    raise AssertionError("no name is repeated")


def some(names: Iterable[Any], most: int = 3) -> str:
    """The first few names for a message."""
    names = list(names)
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def distinct_names(names: Iterable[Any]) -> list[Any]:
    """Each name once: sorted if all are of one kind, otherwise in the order in which they appear."""
    found = list(dict.fromkeys(names))
    if len({name_kind(name) for name in found}) == 1:
        found.sort()
    return found


def name_kind(name: Any) -> type:
    """Its type, where all numbers are of one."""
    return float if isinstance(name, numbers.Real) and not isinstance(name, bool) else type(name)


# ---------------------------------------------------------------------------------------------------------------------
# pandas objects
# ---------------------------------------------------------------------------------------------------------------------


def as_series(argument: str, value: Any) -> Any:
    """A dict by name as a pandas object with these names in its index; anything else as it is."""
    if isinstance(value, Mapping):
        pandas: Any = check_package(f"{argument}: a dict by name", "pandas")
        rows = list(value.values())
        is_rows = any(isinstance(row, (list, tuple, np.ndarray, Tensor)) for row in rows)
        try:
            table = pandas.DataFrame([list(row) for row in rows]) if is_rows else pandas.Series(rows)
        except (TypeError, ValueError) as error:
            raise InputTypeError(f"{argument}: its values are not all alike ({error}).") from None
        return table.set_axis(pandas.Index(list(value), tupleize_cols=False), axis=0)
    return value


def is_table(value: Any) -> bool:
    """Whether it is a pandas Series or DataFrame."""
    return hasattr(value, "iloc") and hasattr(value, "index")


def index_names(argument: str, index: Any) -> list[Any] | None:
    """The names in a pandas index; None for pandas' default 0, 1, 2, ..., which names nothing."""
    if type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1:
        return None
    names = index.tolist()
    if len(set(names)) < len(names):
        twice, first, second = _repeated(names)
        raise InputError(f"{argument}: its index has {twice!r} twice, in rows {first} and {second}; keep one of them.")
    return names


def rows_in_order(argument: str, value: Any, names: Sequence[Any] | None, num_nodes: int) -> Any:
    """`value`; a pandas object, or a dict by name, with its rows in the order of the nodes by their names.

    Args:
        argument: what errors call it.
        value: anything.
        names: the names of the nodes; None if they have no names but their ids.
        num_nodes: how many there are.
    """
    value = as_series(argument, value)
    if not is_table(value):
        return value
    found = index_names(argument, value.index)
    order: Sequence[Any] = range(num_nodes) if names is None else names
    if found is None:
        if names is not None and list(names) != list(range(len(names))) and set(names) == set(range(len(names))):
            raise InputError(
                f"{argument}: its default index 0, 1, 2, ... could be the names of the nodes, whose order is "
                f"{some(names)}, or no names at all; pass {argument}.loc[list(names)] for the first, "
                f"{argument}.to_numpy() for the second."
            )
        return value
    place = {name: i for i, name in enumerate(found)}
    missing = [name for name in order if name not in place]
    known = set(order)
    others = [name for name in found if name not in known]
    if names is None and (missing or others):
        raise InputError(
            f"{argument}: its index names the rows {some(found)}, but the nodes have no names to be put in order by; "
            f"pass node_names=, or {argument}.to_numpy() if the rows are in the order of the nodes."
        )
    if missing or others:
        _refuse_names(argument, missing, others)
    return value.iloc[[place[name] for name in order]]


def _refuse_names(argument: str, missing: list[Any], others: list[Any]) -> None:
    if missing and others and {str(name) for name in missing} & {str(name) for name in others}:
        alike = next(name for name in missing if str(name) in {str(other) for other in others})
        other = next(name for name in others if str(name) == str(alike))
        raise InputError(
            f"{argument}: its index has {other!r} ({type(other).__name__}), the nodes have {alike!r} "
            f"({type(alike).__name__}); convert one of them, such as {argument}.index.astype({type(alike).__name__})."
        )
    if missing:
        raise InputError(
            f"{argument}: its index has no row for node {some(missing)}; "
            + ("y.reindex(names) leaves it unlabelled." if argument == "y" else "add one, or leave the node out.")
        )
    raise InputError(
        f"{argument}: its index has {some(others)}, which {'is no node' if len(others) == 1 else 'are no nodes'} of the "
        f"graph; drop {'this row' if len(others) == 1 else 'these rows'}, or add the nodes."
    )


def square_table(argument: str, table: Any, names: Sequence[Any] | None) -> tuple[Any, tuple[Any, ...] | None]:
    """A DataFrame as a matrix whose rows and columns are both in the order of `names`, and those names.

    By default the names are those of the rows, or None where both indices are pandas' default.
    """
    rows, columns = index_names(argument, table.index), index_names(f"{argument}.columns", table.columns)
    if rows is None and columns is None:
        return table_numbers(argument, table), None
    rows = list(range(len(table.index))) if rows is None else rows
    columns = list(range(len(table.columns))) if columns is None else columns
    order = rows if names is None else list(names)
    for what, found in (("columns", columns), ("rows", rows)):
        if set(found) != set(order) or len(found) != len(order):
            odd = [name for name in found if name not in set(order)] or [n for n in order if n not in set(found)]
            raise InputError(
                f"{argument}: its {what} are {some(found)}, expected the nodes {some(order)} in any order; {some(odd, 1)} "
                "is only in one of them. Make rows and columns the same nodes, or pass .to_numpy() to read by position."
            )
    row_at, column_at = ({name: i for i, name in enumerate(part)} for part in (rows, columns))
    table = table.iloc[[row_at[name] for name in order], [column_at[name] for name in order]]
    return table_numbers(argument, table), tuple(order)


def table_matrix(argument: str, table: Any) -> np.ndarray[Any, Any]:
    """A DataFrame as a matrix by position, unless its columns are its rows in another order."""
    rows, columns = index_names(argument, table.index), index_names(f"{argument}.columns", table.columns)
    if rows is not None and columns is not None and rows != columns and set(rows) == set(columns):
        raise InputError(
            f"{argument}: its columns are its rows in another order; Graph.from_dense puts them in one order, and "
            f"{argument}.to_numpy() is read by position."
        )
    return table_numbers(argument, table)


def table_numbers(argument: str, table: Any) -> np.ndarray[Any, Any]:
    """The columns of a Series or DataFrame as an array of numbers [N, C]: bools are 0 and 1, missing values NaN."""
    frame = table.to_frame() if not hasattr(table, "columns") else table
    columns = [_column_numbers(argument, name, frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    if not columns:
        return np.empty((len(frame), 0), np.float32)
    floats = [column.dtype for column in columns if column.dtype.kind == "f"]
    dtype = np.result_type(*floats) if floats else np.result_type(*columns)
    return np.stack([column.astype(dtype) for column in columns], 1)


def _column_numbers(argument: str, name: Any, column: Any) -> np.ndarray[Any, Any]:
    kind = getattr(column.dtype, "kind", "O")
    if kind in "biuf" and not hasattr(column, "cat"):
        if hasattr(column.dtype, "na_value") and bool(column.isna().any()):  # a nullable dtype
            return column.to_numpy("float64", na_value=math.nan)
        array = column.to_numpy()
        return array if array.dtype.kind in "biuf" else array.astype(np.dtype(column.dtype.kind + "8"))
    if kind == "O" and not hasattr(column, "cat"):
        values = column.tolist()
        odd = next((i for i, v in enumerate(values) if not (is_missing(v) or _is_number(v) or _is_bool(v))), None)
        if odd is None:
            return np.array([math.nan if is_missing(value) else float(value) for value in values])
        found = f"{type(values[odd]).__name__} {values[odd]!r} in row {column.index[odd]!r}"
    else:
        found = f"dtype {column.dtype}"
    raise InputTypeError(
        f"{argument}: column {name!r} has {found}, expected numbers; leave it out, or encode it: "
        f"pandas.get_dummies({argument}, columns=[{name!r}]) makes one column of 0 and 1 per value."
    )


# ---------------------------------------------------------------------------------------------------------------------
# Labels
# ---------------------------------------------------------------------------------------------------------------------


def is_missing(value: Any) -> bool:
    """None, NaN, pandas' NA and NaT."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, (numbers.Real, decimal.Decimal)) and value != value)
    )


def _is_bool(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Real, decimal.Decimal)) and not _is_bool(value)


def read_labels(
    y: Any, class_names: Sequence[Any] | None = None, argument: str = "y", missing: int = -1
) -> tuple[Tensor, tuple[Any, ...] | None]:
    """(y, class_names): labels or targets as a tensor, by the rules of `docs/inputs.md`; their shape is not checked.

    - Integers and bools are class numbers; a missing one beside them (None, NaN, NA) is `missing`, unlabelled.
    - Floats are targets, NaN where missing. A pandas column of whole numbers from 0 with missing values, which pandas
      keeps as floats, is integers.
    - Text is numbered in sorted order (whole numbers written as text by their value) and kept as `class_names`; text
      that is decimal fractions throughout is targets. Categories are numbered in their own order.
    - Rows of several numbers are targets, a column each.

    Raises:
        InputError, InputTypeError: with the value, its place, and the remedy.
    """
    names = None if class_names is None else check_names("class_names", class_names)
    if isinstance(y, Tensor):
        return (y.long() if y.dtype == torch.bool else y), names
    if isinstance(y, (Mapping, Set)):
        raise InputTypeError(f"{argument}: got a {type(y).__name__}, expected a list, in the order of what it labels.")
    if is_table(y):
        if hasattr(y, "columns"):
            if len(y.columns) != 1:
                return torch.from_numpy(table_numbers(argument, y)).to(torch.get_default_dtype()), names
            y = y.iloc[:, 0]
        y = y.array
    if hasattr(y, "categories") and hasattr(y, "codes"):  # pandas' Categorical
        of_class = [str(name) for name in y.categories.tolist()]
        texts = [None if code < 0 else of_class[code] for code in y.codes]
        return _numbered(texts, names or tuple(of_class), argument, missing)
    if isinstance(y, np.ma.MaskedArray):
        y = y.tolist()  # None where it is masked
    is_column = hasattr(y, "isna") and hasattr(y, "tolist")  # pandas'
    if is_column:
        is_plain = getattr(y.dtype, "kind", "O") in "biuf" and not bool(y.isna().any())
        y = y.to_numpy() if is_plain else y.tolist()
    if isinstance(y, np.ndarray) and y.dtype.kind not in "OSU":
        return read_labels(as_tensor(argument, y, "class numbers"), names, argument)
    values = _listed(y)
    if values is None:
        tensor, found = read_labels([y], names, argument, missing)
        return tensor.reshape(tensor.shape[1:]), found
    if all(_is_number(v) or _is_bool(v) or is_missing(v) for v in values):
        return _of_numbers(values, is_column, argument, missing), names
    if all(isinstance(v, str) or is_missing(v) for v in values):
        return _of_text(values, names, argument, missing)
    return _of_rows(values, argument), names


def _listed(y: Any) -> list[Any] | None:
    """The labels in a list, each of them a plain value; None for a single label."""
    if isinstance(y, (str, bytes)) or not isinstance(y, Iterable) or (isinstance(y, np.ndarray) and not y.ndim):
        return None
    values: list[Any] = [
        value.item() if isinstance(value, (Tensor, np.ndarray)) and not value.ndim else value
        for value in (y.tolist() if isinstance(y, np.ndarray) else y)
    ]
    if values and all(isinstance(v, (list, tuple)) and len(v) == 1 and isinstance(v[0], str) for v in values):  # [N, 1]
        values = [value[0] for value in values]
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def _of_numbers(values: list[Any], whole_is_class: bool, argument: str, missing: int) -> Tensor:
    known = [value for value in values if not is_missing(value)]
    is_class = all(isinstance(value, numbers.Integral) or _is_bool(value) for value in known)
    if whole_is_class and len(known) < len(values):
        is_class = is_class or all(value >= 0 and float(value).is_integer() for value in known)
    if not is_class:
        targets = [math.nan if is_missing(value) else float(value) for value in values]
        return torch.tensor(targets, dtype=torch.get_default_dtype())
    classes = [missing if is_missing(value) else int(value) for value in values]
    largest = max(classes, key=abs, default=0)
    if not -(2**63) <= largest < 2**63:
        raise InputError(f"{argument}: label {largest} does not fit 64 bits; make it text, which is numbered.")
    return torch.tensor(classes, dtype=torch.int64)


def _of_text(
    values: list[Any], names: tuple[Any, ...] | None, argument: str, missing: int
) -> tuple[Tensor, tuple[Any, ...] | None]:
    texts = [None if is_missing(value) else value.strip() for value in values]
    if read_as_missing := sorted(MISSING_TEXTS.intersection(texts).difference(names or ())):
        _say(
            f"{argument}: labels {some(read_as_missing)} are how a missing value is written, and read as unlabelled; "
            "leave them empty, or pass class_names with them if they are classes."
        )
    texts = [text if text and text not in read_as_missing else None for text in texts]
    if names is not None:
        return _numbered(texts, names, argument, missing)
    known = {text for text in texts if text is not None}
    number = {text: value for text in known if (value := _as_number(text)) is not None}
    is_measured = not all(value.is_integer() for value in number.values())
    if is_measured and len(number) == len(known):
        targets = [math.nan if text is None else number[text] for text in texts]
        return torch.tensor(targets, dtype=torch.get_default_dtype()), None
    if is_measured and 2 * len(number) > len(known):
        at, text = next((i, text) for i, text in enumerate(texts) if text is not None and text not in number)
        raise InputError(
            f"{argument}: label {text!r} at {at} is no finite number, but most others are, such as {some(number, 1)}; "
            "correct it, or leave it empty. Names may not look like decimal fractions."
        )
    if len(number) == len(known):  # 1.0 is the class 1, which pandas writes so beside missing values
        texts = [str(int(number[text])) if text is not None and "." in text else text for text in texts]
    if doubtful := sorted(text for text in known if text.lower() in _DOUBTFUL_TEXTS):
        _say(f"{argument}: label {some(doubtful)} counts as a class; leave it empty where a node has no label.")
    return _numbered(texts, tuple(sort_classes({text for text in texts if text is not None})), argument, missing)


def sort_classes(texts: Iterable[str]) -> list[str]:
    """Sorted; whole numbers by their value, so that 10 comes after 9."""
    texts = sorted(texts)
    values = [_as_number(text) for text in texts]
    whole = all(value is not None and value == int(value) for value in values)
    return sorted(texts, key=float) if whole else texts


def _as_number(text: str) -> float | None:
    """The value of a plain number; 007, +1 and -0 are names, since as numbers they would be other texts."""
    return float(text) if _NUMBER.fullmatch(text) and text != "-0" else None


def _numbered(texts: list[Any], names: tuple[Any, ...], argument: str, missing: int) -> tuple[Tensor, tuple[Any, ...]]:
    number = {name: i for i, name in enumerate(names)}
    odd = next((i for i, text in enumerate(texts) if text is not None and text not in number), None)
    if odd is not None:
        raise InputError(
            f"{argument}: {texts[odd]!r} at {odd} is not among class_names, {', '.join(map(repr, names))}."
        )
    return torch.tensor([missing if text is None else number[text] for text in texts], dtype=torch.int64), names


def _of_rows(values: list[Any], argument: str) -> Tensor:
    try:
        rows = [torch.as_tensor(value) for value in values]
        dtype = torch.int64 if not any(row.is_floating_point() for row in rows) else torch.get_default_dtype()
        return torch.stack([row.to(dtype) for row in rows])
    except (TypeError, ValueError, RuntimeError):
        kinds = {type(value).__name__: i for i, value in reversed(list(enumerate(values)))}
        found = ", ".join(f"{kind} (first at {place})" for kind, place in sorted(kinds.items()))
        raise InputTypeError(
            f"{argument}: got values of {found}, expected all integers, all numbers, all names, or rows of as many numbers "
            "each; [str(label) for label in y] makes names of a mixture."
        ) from None


def _say(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def shaped_labels(y: Tensor, num_rows: int, num_classes: int | None, argument: str = "y") -> Tensor:
    """Labels int64 [num_rows] from -1, or one (0-d); or targets, floats of these shapes, [num_rows, T] or [1, T].

    [num_rows, 1] integers are one label per row, and a single one, [1] or [1, 1], beside more rows is the graph's.
    """
    if y.is_complex():
        raise InputTypeError(f"{argument}: got {y.dtype}, expected class numbers, or targets of a real dtype.")
    is_of_graph = num_rows != 1 and y.numel() == 1
    if y.dim() == 2 and y.shape[1] == 1 and not y.is_floating_point():
        y = y.squeeze(1)
    if is_of_graph and y.dim() and not (y.dim() == 2 and y.is_floating_point()):
        y = y.reshape(())
    if y.dim() == 0 or (y.dim() == 1 and y.shape[0] == num_rows):
        return check_targets(y, argument) if y.is_floating_point() else _check_classes(y.long(), num_classes, argument)
    if y.dim() == 2 and y.shape[0] in (num_rows, 1):  # several targets per node, or of the graph
        return check_targets(y if y.is_floating_point() else y.float(), argument)
    raise InputError(
        f"{argument}: got shape {tuple(y.shape)}, expected [{num_rows}], one label per node, or a single label; "
        "several targets of the graph are [1, num_targets]."
    )


def _check_classes(y: Tensor, num_classes: int | None, argument: str) -> Tensor:
    bad = (y < -1) | (y >= num_classes) if num_classes is not None else y < -1
    if bool(bad.any()):
        at = int(bad.reshape(-1).nonzero()[0])
        limit = "" if num_classes is None else f" and below {num_classes}"
        raise InputError(
            f"{argument}: label {int(y.reshape(-1)[at])} at {at}; labels must be at least 0{limit}, or -1 for unlabelled. "
            f"torch.unique({argument}, return_inverse=True)[1] numbers them from 0."
        )
    return y if num_classes is not None else _check_numbered(y, argument)


def _check_numbered(y: Tensor, argument: str) -> Tensor:
    """`y` if its labels are numbered from 0: what is made of them has a place for each class up to the largest."""
    if y.numel() and (largest := int(y.max())) >= 1_000_000 and largest > 100 * y.numel():
        raise InputError(
            f"{argument}: the largest label is {largest:,}, but there are only {y.numel():,}, so they are not numbered from 0; "
            f"torch.unique({argument}, return_inverse=True)[1] numbers them, and class_names keeps names of classes."
        )
    return y


def labels_of_all(
    y: Any, class_names: Sequence[Any] | None, num_rows: int, what: str, argument: str = "y"
) -> tuple[Tensor, tuple[Any, ...] | None]:
    """(y, class_names) where every row, a graph or an image, has its label: classes from 0, or targets.

    -1 and 1 alone are two classes with these names.
    """
    y, names = read_labels(y, class_names, argument, missing=_NO_LABEL)
    if y.dim() == 2 and y.shape[1] == 1 and not y.is_floating_point():
        y = y.squeeze(1)
    fits = y.dim() in (1, 2) if y.is_floating_point() else y.dim() == 1
    if y.is_complex() or not fits:
        raise InputError(
            f"{argument}: got {y.dtype} of shape {tuple(y.shape)}, expected one label per {what}, [{num_rows}] integers, or "
            f"targets, floats [{num_rows}] or [{num_rows}, num_targets]; y.float() makes targets of zeros and ones."
        )
    if len(y) != num_rows:
        raise InputError(f"{argument}: got {len(y)} labels for {num_rows} {what}s.")
    if y.is_floating_point():
        return check_targets(y, argument), names
    y = y.long()
    if names is None and y.unique().tolist() == [-1, 1]:
        return (y + 1) // 2, ("-1", "1")
    limit = torch.iinfo(torch.int64).max if names is None else len(names)
    bad = (y < 0) | (y >= limit)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        if int(y[at]) == _NO_LABEL:
            raise InputError(f"{argument}: {what} {at} has no label, and every {what} must have one; leave it out.")
        below = "" if names is None else f" and below {limit}"
        raise InputError(
            f"{argument}: label {int(y[at])} at {at}; labels must be at least 0{below}. "
            f"torch.unique({argument}, return_inverse=True)[1] numbers them from 0."
        )
    return _check_numbered(y, argument) if names is None else y, names


def check_targets(y: Tensor, argument: str = "y") -> Tensor:
    """Targets, of which NaN are missing ones; raises InputError with the first that is infinite."""
    bad = y.isinf()
    if bool(bad.any()):
        at = bad.nonzero()[0].tolist()
        raise InputError(
            f"{argument}: target {float(y[tuple(at)])} at {at}; a target is a finite number, or NaN if missing."
        )
    return y


def classes_remedy(y: Tensor) -> str:
    """What to call on floats that are class numbers, or one-hot rows, to make them classes; empty where they are neither."""
    known = y[~y.isnan()] if y.is_floating_point() else y
    if not known.numel() or bool((known != known.round()).any()) or bool((known < -1).any()):
        return ""
    if y.dim() == 2 and y.shape[1] > 1:
        is_one_hot = bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all())
        return "y.argmax(1) makes classes of these one-hot rows" if is_one_hot else ""
    column = ".squeeze(1)" if y.dim() == 2 else ""
    if y.is_floating_point() and bool(y.isnan().any()):
        return f"y.nan_to_num(-1){column}.long() makes class numbers of them, -1 where one is missing"
    return f"y{column}.long() makes class numbers of them"


# ---------------------------------------------------------------------------------------------------------------------
# Masks
# ---------------------------------------------------------------------------------------------------------------------


def read_mask(name: str, mask: Any, num_nodes: int) -> Tensor:
    """A mask as bools, [num_nodes] or, for several splits, [num_nodes, S]; at least one of them True."""
    if is_table(mask):
        missing = mask.isna().to_numpy().reshape(len(mask), -1).any(1)
        if missing.any():
            raise InputError(
                f"{name}: row {mask.index[int(missing.argmax())]!r} is missing; fillna(False) leaves it out."
            )
        mask = mask.to_numpy()
        mask = np.asarray(mask.tolist()) if mask.dtype == object else mask  # pandas' nullable bools
    mask = as_tensor(name, mask, "a bool for each node")
    if mask.dtype == torch.uint8 and bool((mask <= 1).all()):  # masks of bytes, as torch had them before bools
        mask = mask.bool()
    if mask.dim() == 2 and mask.shape == (num_nodes, 1):
        mask = mask.squeeze(1)
    is_of_nodes = mask.dim() in (1, 2) and mask.shape[0] == num_nodes
    if mask.dtype != torch.bool:
        is_binary = is_of_nodes and bool(((mask == 0) | (mask == 1)).all())
        remedy = f"{name}.bool() makes a mask of zeros and ones" if is_binary else "mask[ids] = True makes one of ids"
        raise InputError(f"{name}: got dtype {mask.dtype}, expected bool; {remedy}.")
    if not is_of_nodes:
        remedy = f"; its transpose has: pass {name}.T" if mask.dim() == 2 and mask.shape[1] == num_nodes else ""
        raise InputError(
            f"{name}: got shape {tuple(mask.shape)}, expected [{num_nodes}], or [{num_nodes}, S] for S splits{remedy}."
        )
    if not bool(mask.any()):
        raise InputError(f"{name}: selects no node; pass None where a split has none.")
    return mask


def check_nodes(nodes: Any, num_nodes: int) -> Tensor:
    """`nodes`, a bool mask or ids, as int64 ids."""
    nodes = as_tensor("nodes", nodes, "a bool mask or node ids")
    if nodes.dtype == torch.bool:
        if nodes.shape != (num_nodes,):
            remedy = ", one split, such as mask[:, 0]" if nodes.dim() == 2 and nodes.shape[0] == num_nodes else ""
            raise InputError(f"nodes: got a mask of shape {tuple(nodes.shape)}, expected [{num_nodes}]{remedy}.")
        return nodes.nonzero().squeeze(1)
    is_mask = nodes.dtype == torch.uint8 or (
        len(nodes.shape) == 1 and len(nodes) == num_nodes > 2 and _is_binary(nodes)
    )
    if is_mask:
        raise InputError(f"nodes: got zeros and ones of {nodes.dtype}, expected ids, or a mask of bools: nodes.bool().")
    if nodes.dim() != 1 or nodes.is_floating_point() or nodes.is_complex():
        raise InputError(
            f"nodes: got {nodes.dtype} of shape {tuple(nodes.shape)}, expected a bool mask or integer ids."
        )
    bad = (nodes < 0) | (nodes >= num_nodes)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise InputError(f"nodes: id {int(nodes[at])} at {at}, but ids must be at least 0 and below {num_nodes}.")
    return nodes.long()


def _is_binary(nodes: Tensor) -> bool:
    return bool(((nodes == 0) | (nodes == 1)).all())


def check_edge_index(edge_index: Any) -> Tensor:
    """`edge_index` as an int64 tensor [2, num_edges], or a clear error. Ids are not compared with a number of nodes."""
    if (
        isinstance(edge_index, (list, tuple))
        and len(edge_index) == 2
        and all(isinstance(ids, (list, tuple)) and not len(ids) for ids in edge_index)
    ):
        return torch.empty(2, 0, dtype=torch.int64)
    if isinstance(edge_index, (list, tuple)) and not len(edge_index):
        raise InputError("edge_index: got an empty list, expected two lists of ids: [[], []] has no edges.")
    if is_table(edge_index):
        raise InputTypeError(
            "edge_index: got a DataFrame; Graph.from_pandas(edges, source, target) reads a table of edges."
        )
    expected = "a tensor, an array or lists of integers; Graph.from_pandas numbers nodes that have names"
    tensor = as_tensor("edge_index", edge_index, expected)
    if tensor.layout != torch.strided:
        raise InputTypeError("edge_index: got a sparse tensor; use Graph.from_torch or SparseMatrix.from_torch.")
    if tensor.dtype not in (torch.int64, torch.int32, torch.int16):
        raise InputTypeError(
            f"edge_index: got dtype {tensor.dtype}, expected integers (int64, int32 or int16); "
            "convert node ids with .long(), or pass a dense adjacency matrix to from_dense."
        )
    if tensor.dim() != 2 or tensor.shape[0] != 2:
        hint = (
            "; its transpose has: pass edge_index.t().contiguous()"
            if tensor.dim() == 2 and tensor.shape[1] == 2
            else ""
        )
        raise InputError(f"edge_index: got shape {tuple(tensor.shape)}, expected [2, num_edges]{hint}.")
    return tensor.long()


def largest_id(edge_index: Tensor) -> int:
    """The largest id, -1 if there is none; raises InputError for ids that are not numbered from 0, such as account numbers."""
    largest = max(int(edge_index.max()), -1) if edge_index.numel() else -1
    if largest >= 1_000_000 and largest > 100 * edge_index.numel():
        raise InputError(
            f"edge_index: the largest id is {largest:,}, but there are only {edge_index.shape[1]:,} edges, so the ids are not "
            "numbered from 0. Graph.from_pandas numbers any ids, and so does torch.unique(edge_index, return_inverse=True); "
            f"pass num_nodes={largest + 1} if there really are so many nodes."
        )
    return largest


def check_ids(edge_index: Tensor, shape: Sequence[int], because: str = "") -> None:
    """Raise InputError unless the ids [2, num_edges] fit a matrix of `shape`, (targets, sources).

    `because` says what the number of nodes was taken from, such as "x has 3 rows"; empty if it was given itself.
    """
    source, target = edge_index
    for ids, limit in ((target, shape[0]), (source, shape[1])):
        bad = (ids < 0) | (ids >= limit)
        if bool(bad.any()):
            at = int(bad.nonzero()[0])
            counts_from_1 = int(edge_index.min()) == 1 and int(ids.max()) == limit
            remedy = (
                "do they count from 1? Then pass edge_index - 1"
                if counts_from_1
                else f"give {because.partition(' ')[0]} for every node"
                if because
                else "pass num_nodes if there are more nodes"
            )
            raise InputError(
                f"edge_index: edge {at} is {int(source[at])} -> {int(target[at])}, but {because}{', so ' * bool(because)}"
                f"ids must be at least 0 and below {limit}; {remedy}."
            )


def check_weight(weight: Any, length: int, name: str = "edge_weight") -> Tensor:
    """`weight` as a finite floating tensor [length]: float32 for integers, its own dtype for floats."""
    tensor = as_values(name, weight, length)
    bad = ~torch.isfinite(tensor.detach())
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise InputError(
            f"{name}: {int(bad.sum())} of {length} values are not finite; the first is {tensor[at]} at {at}."
        )
    return tensor


def as_values(name: str, data: Any, length: int) -> Tensor:
    tensor = as_tensor(name, data, "numbers")
    if tensor.is_complex():
        raise InputError(f"{name}: got complex values, expected real ones.")
    if tensor.shape != (length,):
        raise InputError(f"{name}: got shape {tuple(tensor.shape)}, expected [{length}], one value an edge.")
    return tensor if tensor.is_floating_point() else tensor.float()
