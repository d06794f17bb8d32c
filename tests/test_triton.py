"""The Triton kernel's numbers, in Triton's interpreter, which runs it on a CPU."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not installed; torch for CUDA brings it")

CODE = """
import torch
from gcnlab import SparseMatrix
from gcnlab.sparse import spmm_reference
from gcnlab.sparse.triton_spmm import spmm
torch.manual_seed(0)
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 0.02)):
    for num_rows, num_cols, nnz in ((7, 11, 40), (53, 53, 0), (5, 3, 15), (1, 101, 97)):
        s = SparseMatrix.from_edges(torch.stack([torch.randint(num_cols, (nnz,)), torch.randint(num_rows, (nnz,))]),
                                    shape=(num_rows, num_cols))
        s = s.with_value(torch.randn(s.nnz))
        for width in (1, 13, 128, 131):
            x = torch.randn(width, num_cols).T.to(dtype)  # not contiguous
            value = s.value.to(dtype)
            strided = torch.stack([value, value], 1)[:, 0]
            found = spmm(s.rowptr, s.col, strided, x)
            expected = spmm_reference(s.rowptr, s.col, value.double(), x.double())
            assert found.dtype == dtype and found.shape == (num_rows, width)
            torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
assert spmm(s.rowptr, s.col, s.value, torch.ones(101, 0)).shape == (1, 0)
"""


def test_the_kernel_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
def test_the_kernel_on_a_gpu():
    code = "import torch; torch.set_default_device('cuda')\n" + CODE
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
