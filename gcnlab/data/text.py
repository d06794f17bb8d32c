"""Text files of integers, read strictly and fast: every number with its line, every other character an error."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from ..errors import DatasetFormatError

_MAX_DIGITS = 18  # every such number fits an int64
_CHUNK = 1 << 23  # bytes; bounds the memory of the intermediate arrays

_BAD, _DIGIT, _MINUS, _SPACE = 0, 1, 2, 3
_KIND = np.zeros(256, np.uint8)
_KIND[np.frombuffer(b"0123456789", np.uint8)] = _DIGIT
_KIND[ord("-")] = _MINUS
_KIND[np.frombuffer(b" \t,\r\n", np.uint8)] = _SPACE


class Integers:
    """The integers of a text file, line by line, as CSR keeps rows: line l (from 0) holds `values[start[l]:start[l + 1]]`.

    Integers are separated by blanks, commas or both; a last line without newline is a line like any other, blank lines
    at the end are none.

    Args:
        file: what the file is called in messages.
        content: its bytes.

    Raises:
        DatasetFormatError: anything but integers of at most 18 digits; with line and value.

    >>> numbers = Integers("a.txt", b"1, 2\\n3 4")
    >>> numbers.table(2).tolist()
    [[1, 2], [3, 4]]
    """

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        content = content.rstrip(b" \t\r\n")
        values, starts = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
        num_values = num_lines = at = 0
        while at < len(content):
            end = content.find(b"\n", at + _CHUNK) + 1 or len(content)
            chunk_values, line_ends = self._parse(content[at:end], num_lines)
            values.append(chunk_values)
            starts.append(line_ends + num_values)
            num_values += len(chunk_values)
            num_lines += len(line_ends)
            at = end
        self.values = np.concatenate(values)
        self.start = np.concatenate(starts)

    def _parse(self, content: bytes, line: int) -> tuple[np.ndarray, np.ndarray]:
        """The integers of some whole lines, and how many there are up to the end of each line."""
        raw = np.frombuffer(content, np.uint8)
        kind = _KIND[raw]
        newlines = np.flatnonzero(raw == ord("\n"))
        in_token = np.zeros(len(raw) + 2, bool)
        np.not_equal(kind, _SPACE, out=in_token[1:-1])
        starts = np.flatnonzero(in_token[1:] & ~in_token[:-1])
        ends = np.flatnonzero(in_token[:-1] & ~in_token[1:])
        negative = kind[starts] == _MINUS if len(starts) else np.zeros(0, bool)
        num_digits = ends - starts - negative
        is_bad = (num_digits < 1) | (num_digits > _MAX_DIGITS)
        odd = np.flatnonzero((kind == _BAD) | (kind == _MINUS))
        odd_token = np.searchsorted(starts, odd, side="right") - 1
        is_bad[odd_token[(kind[odd] == _BAD) | (odd != starts[odd_token])]] = True
        if is_bad.any():
            token = int(is_bad.argmax())
            text = content[starts[token] : ends[token]][:40].decode("latin1")
            number = line + int(np.searchsorted(newlines, starts[token])) + 1
            raise DatasetFormatError(self.file, "expected an integer", line=number, value=text)
        values = np.zeros(len(starts), np.int64)
        for digit in range(int(num_digits.max(initial=0))):  # from the last to the first
            has = np.flatnonzero(num_digits > digit)
            values[has] += (raw[ends[has] - 1 - digit] - np.uint8(ord("0"))).astype(np.int64) * 10**digit
        values[negative] *= -1
        lines = np.append(newlines, len(raw)) if not len(newlines) or newlines[-1] != len(raw) - 1 else newlines
        return values, np.searchsorted(starts, lines)

    @property
    def num_lines(self) -> int:
        return len(self.start) - 1

    def table(self, width: int) -> np.ndarray:
        """The file as [num_lines, width]; raises DatasetFormatError for a line of another width."""
        found = np.diff(self.start)
        self.refuse(found != width, lambda line: f"expected {width} on this line, but there are {found[line]}")
        return self.values.reshape(-1, width)

    def column(self, length: int | None = None, what: str = "") -> np.ndarray:
        """The file as [num_lines], one integer a line; `length` is how many lines there must be, and `what` of."""
        column = self.table(1)[:, 0]
        if length is not None and len(column) != length:
            raise DatasetFormatError(self.file, f"it has {len(column)} lines, but there are {length} {what}")
        return column

    def refuse(self, is_bad: np.ndarray, problem: object, values: np.ndarray | None = None) -> None:
        """Raise DatasetFormatError for the first line of which `is_bad` holds, if there is one.

        Args:
            is_bad: bool, one a line.
            problem: the text, or a function of the line (from 0).
            values: what was found, one a line.
        """
        if is_bad.any():
            line = int(is_bad.argmax())
            self.fail(
                str(problem(line) if callable(problem) else problem), line, None if values is None else values[line]
            )

    def fail(self, problem: str, line: int, value: object = None) -> NoReturn:
        """Raise DatasetFormatError at a line (from 0)."""
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        raise DatasetFormatError(self.file, problem, line=line + 1, value=value)
