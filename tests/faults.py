"""Plants faults in a copy of gcnlab, one at a time, and sees that a test fails: for every promise, and in the formulas.

    python tests/faults.py [--only NAME] [--jobs 2] [--json benchmarks/results/faults.json]

A fault is a line of gcnlab written otherwise. Of a promise (a row of promises.py) one of its own tests must fail, of a
formula one of the tests named beside it. About 8 seconds each; exit status 1 where a fault goes unseen.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from promises import TESTS

CHECKOUT = Path(__file__).resolve().parents[1]


class Fault(NamedTuple):
    of: str  # a row of promises.py, or a formula
    file: str
    line: str
    instead: str
    tests: str = ""  # files of tests, for a formula


FAULTS = [
    # -- promises about files
    Fault("F1", "data/unpickle.py", "if full_name not in ADMITTED:", "if full_name not in ADMITTED and False:"),
    Fault("F2", "data/fetch.py", 'if found != file["sha256"]:', 'if found == "":'),
    Fault("F3", "data/fetch.py", "check_file(Path(temporary.name), file)", "pass"),
    Fault("F4", "data/archive.py", "if total > max_bytes:", "if total > 2 * max_bytes:"),
    Fault("F4", "data/archive.py", 'inside.is_absolute() or ".." in inside.parts', "inside.is_absolute()"),
    Fault("F5", "data/planetoid.py", 'if lines[-1] == b"":', "if True:"),
    Fault("F6", "data/planetoid.py", "if len(bad := np.flatnonzero(~one_hot)):", "if len(bad := np.flatnonzero(~one_hot)) > 9:"),
    Fault("F7", "data/planetoid.py", "labels = np.full(num_nodes, -1, np.int64)", "labels = np.zeros(num_nodes, np.int64)"),
    Fault("F8", "data/tu.py", "graphs[:, 0] != graphs[:, 1]", "graphs[:, 0] > graphs[:, 1] + 9"),
    Fault("F9", "data/idx.py", "if header[:4] != expected:", "if header[:3] != expected[:3]:"),
    Fault("F10", "files.py", "os.replace(file.name, path)", "Path(path).write_bytes(Path(file.name).read_bytes())"),
    Fault("F11", "files.py", "while not _try_lock(file):", "while False:"),
    Fault("F12", "data/__init__.py", "if header.get(\"key\") == key:", "if True:"),
    Fault(
        "F13",
        "files.py",
        'raise error(path, "is not a file of gcnlab\'s arrays, which are safetensors with a sha256 in front")',
        "import pickle\n        return {}, pickle.loads(content)",
    ),
    Fault("F20", "structure.py", "int(rise.amin()) <= 0", "int(rise.amin()) < 0"),
    Fault("F20", "structure.py", "if not lowest == highest == constant:", "if False:"),
    Fault("F20", "structure.py", "(int(row[0]), int(column[0])) <= last_place", "False"),
    Fault("F20", "structure.py", "bad = (part > 1) | ((part == 1) & (part_of > 1))", "bad = (part > 1) | ((part == 1) & (part_of > 9))"),
    Fault("F22", "models.py", "check_state(path, state, model.state_dict())", "pass"),
    Fault("F24", "checkpoint.py", "if not isinstance(value, Tensor) or value.shape != (len(header[\"seeds\"]),):", "if False:"),
    Fault("F24", "precompute.py", "if array.shape != tuple(shape):", "if False:"),
    Fault("a best value of NaN", "checkpoint.py", "not bool((best_value > -math.inf).all())", "bool((best_value == -math.inf).any())", "checkpoint"),
    Fault("an optimizer's steps", "checkpoint.py", "not 0 <= float(value) <= num_steps", "float(value) > num_steps", "checkpoint"),
    Fault("an emptied optimizer", "checkpoint.py", "if num_steps and keeps_moments and", "if False and", "checkpoint"),
    Fault("F23", "data/__init__.py", "reader.check(path, header, arrays)", "pass"),
    Fault("F23", "structure.py", "bad = column >= bound if is_last else column < bound", "bad = column > bound if is_last else column < bound"),
    Fault("F22", "models.py", "if classes and len(classes) != outputs:", "if False:"),
    Fault("F22", "files.py", "type(value) is kind and (kind is not int or value >= 0)", "isinstance(value, kind)"),
    Fault("F21", "sparse/matrix.py", "new_col = torch.full((nnz,), -1,", "new_col = torch.full((nnz,), 0,"),
    # -- about what is kept and shared
    Fault("K1", "graph/graph.py", "        if self.is_learnt:\n            return make()\n", ""),
    Fault("K1", "graph/graph.py", 'return matrix.value.requires_grad or self._derived.get("learnt", False)', "return matrix.value.requires_grad"),
    Fault("K1", "graph/parts.py", "if graph.is_learnt else graph.is_directed:", "if False else graph.is_directed:"),
    Fault("K1", "graph/collection.py", "if self._multiplicity is not None or is_learnt:", "if self._multiplicity is not None:"),
    Fault("K1", "train/stack.py", "return not any(value.requires_grad for value in graph.values.values())", "return True"),
    Fault("K1", "sparse/matrix.py", "            kept = None  # its values are those of before", "            pass"),
    Fault("K2", "graph/graph.py", "            with torch.inference_mode(False):\n                self._derived[key]", "            if True:\n                self._derived[key]"),
    Fault("K2", "graph/graph.py", "adjacency, x = ordinary(adjacency), ordinary(x)", "pass"),
    Fault("K2", "sparse/matrix.py", "if not is_compiling and torch.is_inference_mode_enabled():", "if False:"),
    Fault("K2", "image/grid.py", "        with torch.inference_mode(False):  # as Graph.kept\n            for", "        if True:\n            for"),
    Fault("K3", "graph/graph.py", 'check_moves("x", adjacency, x.dtype)', "pass"),
    Fault("K3", "memory.py", "return value.detach().to(\"meta\").requires_grad_(value.requires_grad)", 'return value.to("meta")'),
    Fault("K3", "train/feed.py", "        check_fixed({f\"data{name}\": part for name, part in feed_class.fixed(data).items()})\n", ""),
    Fault("K4", "graph/parts.py", "    return own(mask)\n", "    return mask\n"),
    Fault("K4", "graph/graph.py", "y = own(shaped_labels(", "y = (shaped_labels("),
    Fault("K4", "graph/collection.py", "own(self._ids(index))", "self._ids(index)"),
    Fault("K4", "graph/collection.py", "ptr = own(ptr.long())", "ptr = ptr.long()"),
    Fault("K4", "sparse/matrix.py", "            value = value.clone()\n", "            pass\n"),
    Fault("K4", "image/signals.py", "x.is_inference() or not isinstance(images, Tensor)", "x.is_inference()"),
    Fault("K5", "inputs.py", "known.version == tensor._version", "known.version <= tensor._version"),
    Fault("K5", "inputs.py", "return Shared, (self.tensor,)", "return type(None), ()"),
    Fault("K5", "graph/graph.py", 'if key != "merged"}', "if True}"),
    Fault("K5", "image/signals.py", 'check_unwritten("images", self._x, self._shared)', "pass"),
    Fault("K5", "precompute.py", 'check_unwritten(f"features[{k}]", f, self._shared[k])', "pass"),
    Fault("K5", "scale.py", 'check_unwritten("operator", self.matrix.value, self.shared)', "pass"),
    Fault("K6", "train/engine.py", "generators.generators_alone(),", "nullcontext(),"),
    Fault("K6", "generators.py", "        _wait_for_makers()\n", ""),
    Fault("K6", "generators.py", "def _take_turn(*_: Any) -> None:\n    with _turn:\n        pass", "def _take_turn(*_: Any) -> None:\n    pass"),
    Fault("K6", "generators.py", "os.register_at_fork(after_in_child=_renew_turn)", "pass"),
    Fault("K7", "train/engine.py", "torch.inference_mode(False), torch.enable_grad(),", ""),
    Fault("K7", "train/engine.py", '        torch.autocast("cpu", enabled=False, cache_enabled=False),\n', ""),
    Fault("K7", "train/engine.py", 'torch.autocast("cuda", enabled=False, cache_enabled=False)', 'torch.autocast("cuda", enabled=False, cache_enabled=True)'),
    Fault("K7", "train/engine.py", "if not loss.requires_grad:", "if False:"),
    Fault("K8", "checks.py", "if x.layout != torch.strided or x.is_nested:", "if False:"),
    Fault("K8", "models.py", "            check_like(f\"xs[{k}]\", x, f.weight)\n", ""),
    Fault("K8", "graph/joining.py", "if not isinstance(graphs, Iterable):", "if False:"),
    Fault("K9", "checks.py", "number = operator.index(count)", "number = int(count)"),
    Fault("K9", "train/options.py", '("epochs", "seeds_at_once", "batch_size")', '("epochs", "seeds_at_once")'),
    Fault("K9", "deep.py", 'channels = None if channels is None else check_count("channels", channels, 1)', "pass"),
    # -- about inputs
    Fault("I1", "inputs.py", "if tensor.dtype not in (torch.int64, torch.int32, torch.int16):", "if tensor.is_complex():"),
    Fault("I2", "inputs.py", "if tensor.dim() != 2 or tensor.shape[0] != 2:", "if tensor.dim() != 2:"),
    Fault("I3", "inputs.py", "bad = (ids < 0) | (ids >= limit)", "bad = ids >= limit"),
    Fault("I4", "inputs.py", "return tensor.long()\n", "return tensor\n"),
    Fault("I5", "sparse/matrix.py", "matrix.check_format(full_check=True)", "pass"),
    Fault("I6", "inputs.py", "bad = ~torch.isfinite(tensor.detach())", "bad = torch.isinf(tensor.detach())"),
    Fault("I7", "graph/graph.py", "self.check_degree(matrix, degree)", "pass"),
    Fault("I8", "graph/graph.py", "check_features(ordered(\"x\", x), n, check_finite)", "check_features(ordered(\"x\", x), n, False)"),
    Fault("I9", "layers/gcn.py", "    check_operands(self, x, a_hat, square=False)\n", "    pass\n"),
    Fault("I10", "graph/graph.py", "torch.where(degree > 0, degree, 1).pow(-0.5 if norm == \"sym\" else -1.0) * (degree > 0)", 'degree.pow(-0.5 if norm == "sym" else -1.0)'),
    Fault("I11", "layers/neighbours.py", "index_add(0, row, weight) + (pattern.rowptr.diff() == 0)", "index_add(0, row, weight)"),
    Fault("I12", "sparse/matrix.py", 'if duplicates == "first":', "if True:"),
    Fault("I13", "sparse/matrix.py", 'value = self.value + loop if mode == "add" else', "value = self.value + loop if True else"),
    Fault("I14", "graph/graph.py", "warn_if_directed(self)\n", "pass\n"),
    Fault("I15", "graph/graph.py", "if other.adjacency is self.adjacency:", "if True:"),
    Fault("I15", "graph/graph.py", 'return {**self.__dict__, "_derived": known}', "return dict(self.__dict__)"),
    Fault("I16", "layers/readout.py", "torch.where(total == 0, 1, total)", "total"),
    Fault("I17", "graph/graph.py", "check_disjoint({", "(lambda masks: None)({"),
    Fault("I18", "metrics.py", "raise InputError(\n            f\"{argument}: {int(bad.sum())} are NaN", "print(\n            f\"{argument}: {int(bad.sum())} are NaN"),
    Fault("I19", "graph/convert.py", 'parts = {**options, "node_names": names,', "parts = {**options,"),
    Fault("I20", "image/grid.py", 'return check_count("shape", size, 1)', "return int(size)"),
    Fault("I21", "inputs.py", "return value.iloc[[place[name] for name in order]]", "return value"),
    Fault("I21", "inputs.py", "table = table.iloc[[row_at[name] for name in order], [column_at[name] for name in order]]", "pass"),
    Fault("I21", "graph/convert.py", "elif _num_rows(table) > 1 and kinds - {float}:", "elif False:"),
    Fault("I21", "graph/convert.py", "            nodes += found\n", "            pass\n"),
    Fault("I22", "inputs.py", "    if len(set(names)) < len(names):\n        twice, first, second = _repeated(names)\n        raise InputError(f\"{argument}: {twice!r}", "    if False:\n        twice, first, second = _repeated(names)\n        raise InputError(f\"{argument}: {twice!r}"),
    Fault("I23", "inputs.py", "missing if is_missing(value) else int(value) for", "0 if is_missing(value) else int(value) for"),
    Fault("I23", "inputs.py", "return sorted(texts, key=float) if whole else texts", "return texts"),
    Fault("I23", "graph/joining.py", "numbered.append(numbered_as(y, theirs or (), names))", "numbered.append(y)"),
    Fault("I23", "inputs.py", 'is_one_hot = bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all())', "is_one_hot = False"),
    Fault("I24", "graph/convert.py", 'upper = SparseMatrix.from_coo(low, high, value, shape, duplicates or "first")', 'upper = SparseMatrix.from_coo(low, high, value, shape, duplicates or "sum")'),
    Fault("I25", "inputs.py", "if largest >= 1_000_000 and largest > 100 * edge_index.numel():", "if False:"),
    Fault("I25", "graph/convert.py", 'if source and weight not in (None, "weight") and not has_weight:', "if False:"),
    Fault("I26", "graph/convert.py", "if weight is None and attr is not None and attr.is_floating_point() and attr.shape[1:].numel() == 1:", "if weight is None and attr is not None and attr.shape[1:].numel() == 1:"),
    Fault("I27", "graph/convert.py", "low, high = ends.amin(0), ends.amax(0)", "low, high = ends"),
    # -- about options and the installation
    Fault("O1", "checks.py", "if value is not True and value is not False:", "if False:"),
    Fault("O1", "checks.py", "if number is not None and 0 <= number <= 1:", "if number is not None and number >= 0:"),
    Fault("O1", "checks.py", "if _kind(value) is _kind(choice) and value == choice:", "if value == choice:"),
    Fault("O1", "models.py", 'check_choice("norm", norm, (None, *_NORMS, False, True))', "norm = bool(norm)", "options block"),
    Fault("O1", "layers/neighbours.py", 'check_number("negative_slope", negative_slope, least=0)', "negative_slope"),
    Fault("O2", "recipes/runner.py", '        check_can_draw("out: curves.png")\n', ""),
    Fault("O2", "recipes/runner.py", 'check_package("the progress bar", "tqdm")', "pass"),
    Fault("E1", "../pyproject.toml", 'package-dir = { "" = "." }', ""),
    Fault("E2", "doctor.py", "    if not complete:\n", "    if False:\n"),
    # -- about pictures
    Fault("M1", "data/image_folder.py", "PIL.ImageOps.exif_transpose(image).convert", "image.convert"),
    Fault("M1", "data/image_folder.py", 'path.open("rb") as file, PIL.Image.open(file, formats', "PIL.Image.open(path, formats"),
    Fault("M2", "image/pixels.py", "elif low < -_TOLERANCE or high > 1 + _TOLERANCE:", "elif high > 300:"),
    Fault("M2", "image/signals.py", "to_unit(x).to(torch.get_default_dtype() if self.grid is None else self.grid.dtype)", "to_unit(x)"),
    Fault("M3", "image/pixels.py", "if len(shape) == 3 and shape[2] <= MAX_GUESSED_CHANNELS < min(shape[:2]):", "if False:"),
    Fault("M4", "data/image_folder.py", "torch.randperm(len(labels), generator=generator)", "torch.arange(len(labels))"),
    Fault("M4", "data/__init__.py", "        warn_of_twins(images)\n", ""),
    Fault("M5", "data/image_folder.py", 'or path.name.lower() in _LEFT_BEHIND', ""),
    Fault("M5", "data/image_folder.py", "path.name.lower() in names", "path.name in names"),
    Fault("M6", "data/idx.py", 'is_packed = raw.read(2) == b"\\x1f\\x8b"', 'is_packed = path.suffix == ".gz"'),
    Fault("M7", "data/image_npz.py", "labels.reshape(-1).astype(np.int64)", "np.sort(labels.reshape(-1)).astype(np.int64)"),
    Fault("M8", "image/signals.py", "        if self._y is None:\n            raise InputError(", "        if self._y is None:\n            return torch.zeros(len(self.x)).long()\n            raise InputError("),
    Fault("M8", "data/image_folder.py", "[str(file) for file in files]", "[str(file) for file in reversed(files)]"),
    Fault("M5", "data/image_folder.py", "if is_deep or image.mode", "if image.mode"),
    Fault("M3", "data/image_sets.py", "if images.dim() == 4 and channels_seem_first(images.shape[1:]):", "if False:"),
    Fault("M9", "baselines.py", "features.{int(number) - 1}", "features.{int(number)}"),
    Fault("M9", "plot.py", "_FAMILIES[family] if family in _FAMILIES else next(free)", "next(free)"),
    # -- about training
    Fault("T1", "train/objective.py", "if math.isfinite(norm):", "if True:"),
    Fault("T2", "files.py", "    os.replace(file.name, path)", "    shutil.copyfile(file.name, path)"),
    Fault("T3", "files.py", "if content[at : at + 64] != digest:", "if False:"),
    Fault("the sha256 with its own digits as zeros", "files.py", '_NO_DIGEST = b"0" * 64', '_NO_DIGEST = b"1" * 64', "files"),
    Fault("T3", "files.py", "if begin != position:", "if begin > position:"),
    Fault("T3", "files.py", "if begin != position:", "if begin < position:"),
    Fault("T3", "files.py", "if start + position != len(content):", "if start + position > len(content):"),
    Fault("T3", "files.py", "if arrays[name].nbytes != end - begin:", "if False:"),
    Fault("T3", "files.py", "if len(found) < len(pairs):", "if False:"),
    Fault("offsets in files of 1.0", "files.py", "[*shape, offset]):", "shape):", "files"),
    Fault("T4", "generators.py", 'torch.set_rng_state(state["torch"])', "pass"),
    Fault("T4", "train/engine.py", 'self.optimizer.load_state_dict(training["optimizer"])', "pass"),
    Fault("T5", "checkpoint.py", "if a.shape != b.shape or a.dtype != b.dtype:", "if a.shape != b.shape:"),
    Fault("T6", "generators.py", "torch.default_generator.manual_seed(seed)", "torch.default_generator.seed()"),
    Fault("T7", "memory.py", "if free is not None and num_bytes > share * free:", "if free is not None and num_bytes > 9 * share * free:"),
    Fault("N1", "memory.py", "if num_bytes >= LARGE and device.type == \"cpu\":", "if num_bytes >= LARGE and argument == \"to_dense\":"),
    Fault("N1", "metrics.py", "c, 16 * c * c, y)", "c, 16 * c, y)"),
    Fault("N1", "inputs.py", ">= 1_000_000 and largest > 100 * y.numel():", ">= 10**18:"),
    Fault("N2", "checks.py", "<= 64 * cores", "<= 10**9"),
    Fault("T8", "sparse/matrix.py", "dtype = torch.promote_types(self.dtype, torch.float32)\n        self._check_columns", "dtype = self.dtype\n        self._check_columns"),
    Fault("T18", "inputs.py", "torch.where(y < 0, -1, number[y.clamp(min=0)])", "y"),
    Fault("T9", "train/engine.py", 'int(torch.randint(2**53, (), device="cpu")) if options.seed is None else options.seed', "0 if options.seed is None else options.seed"),
    Fault("T9", "train/resume.py", 'if is_drawn and len(header["seeds"]) == 1:', "if False:"),
    Fault("T9", "train/engine.py", "if self.is_drawn and drawn_by_first is not None:", "if False:"),
    Fault("T9", "generators.py", "    numpy.random.seed(seed % 2**32)", "    pass"),
    Fault("T10", "generators.py", "        set_rng_state(before)", "        pass"),
    Fault("T10", "generators.py", "torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []", "[]"),
    Fault("T10", "models.py", "@generators_kept()\ndef load_model(", "def load_model("),
    Fault("T14", "train/objective.py", "_warn_of_classes_without_rows(row, y, val_y, num_classes, class_names)\n        return", "pass\n        return"),
    Fault("T15", "train/norms.py", "evaluated.add(norm.eval())", "pass"),
    Fault("T15", "train/norms.py", "if any(count is not None for count in inputs[1:]):", "if False:"),
    Fault("T16", "train/engine.py", "for batch in self.feed.sample(model) or self.last_batches if self.norms else ():", "for batch in ():"),
    Fault("T16", "train/norms.py", "return is_norm and module.training and", "return is_norm and"),
    Fault("T16", "train/norms.py", "norm.momentum = size / sizes[norm]", "norm.momentum = 0.5"),
    Fault("T16", "train/norms.py", "and norm.momentum != 0", "and True"),
    Fault("T16", "train/norms.py", "            count.copy_(of_training)", "            count"),
    Fault("T16", "train/engine.py", "[average for norm in self.norms for average in (norm.running_mean, norm.running_var)]", "[]"),
    Fault("T17", "layers/norm.py", "momentum = 1 / num_batches.unsqueeze(-1).double() if num_batches.dim() else 1 / float(num_batches)", "momentum = 0.1"),
    Fault("T11", "train/operators.py", 'kinds = wanted_operators(model) or ("a_hat",)', 'kinds = ("a_hat",)'),
    Fault("T11", "train/nodes.py", 'if draws and "a_hat" not in kinds:', "if False:"),
    Fault("T11", "layers/operators.py", "if layers and not fitting:", "if False:"),
    Fault("T12", "train/operators.py", "if trained not in (None, OWN):\n        return (trained,)", "if False:\n        return (trained,)"),
    Fault("T12", "models.py", "model.trained_operator = operator", "pass"),
    Fault("T12", "train/nodes.py", '"operator": None if self.kind in ("a_hat", OWN) else self.kind,', ""),
    Fault("T12", "graph/spectrum.py", "tol=1e-6, v0=start)", "tol=1e-6)"),
    Fault("T13", "layers/operators.py", "if not _is_among(kind, (*named, *accepted)):", "if False:"),
    Fault("T13", "sparse/matrix.py", "        other = SparseMatrix(self.rowptr, self.col, value, self.shape)\n        other._pattern", "        other = SparseMatrix(self.rowptr, self.col, value, self.shape)\n        other.kind = self.kind\n        other._pattern"),
    Fault("T13", "graph/graph.py", 'self.__dict__["adjacency"] = matrix.with_kind("adjacency")', 'self.__dict__["adjacency"] = matrix\n            matrix.kind = "adjacency"'),
    # -- about probabilities
    Fault("P1", "recipes/nodes.py", "fit_temperature(logits[graph.val_mask], graph.y[graph.val_mask])", "fit_temperature(logits[graph.test_mask], graph.y[graph.test_mask])"),
    Fault("P1", "recipes/graphs.py", "fit_temperature(predict(model, graphs[val]), graphs[val].y)", "fit_temperature(predict(model, graphs[test]), graphs[test].y)"),
    Fault("P1", "cli.py", "(logits / temperature).softmax(1)", "logits.softmax(1)"),
    Fault("P1", "cli.py", "label = logits.argmax(1)", "label = (logits / temperature).softmax(1).argmax(1)"),
    Fault("P1", "metrics.py", "(n * F.one_hot(y, c).to(z.dtype) + 1 / c) / (n + 1)", "F.one_hot(y, c)"),
    Fault("P2", "metrics.py", "bad = (p < 0).any(1) | ((p.sum(1) - 1).abs() > 0.01)", "bad = (p < 0).any(1)"),
    Fault("P2", "metrics.py", "torch.bucketize(confidence, edges)", "torch.bucketize(confidence, edges, right=True)"),
    # -- about links
    Fault("L1", "links.py", "if graph.made_features:", "if False:"),
    Fault("L1", "links.py", "_check_features(graph, edges, pairs)", "pass"),
    Fault("L1", "graph/graph.py", "self._made if arguments[\"adjacency\"] is self.adjacency else {}", "self._made"),
    Fault("L2", "links.py", "pairs = _NonEdges(graph, _check_sides(graph, sides))\n    if num_held", "pairs = _NonEdges(graph, None)\n    if num_held"),
    Fault("L2", "links.py", "< 10:  # independent cycles", "< 0:"),
    Fault("L3", "sparse/matrix.py", "relative * larger + absolute * larger.max()", "0 * larger"),
    Fault("L3", "sparse/matrix.py", "1e-9 if a.dtype == torch.float64 else 1e-5", "1e-2"),
    Fault("L4", "links.py", "bad = ((pairs < 0) | (pairs >= h.shape[0])).any(0)", "bad = (pairs >= h.shape[0]).any(0)"),
    Fault("L4", "links.py", "if self.num_places <= 3 * (self.num_entries + num_pairs):", "if False:"),
    # -- about several processes
    Fault("D1", "distributed.py", "known = None if isinstance(error, DistributedError) else heart.explain(error)", "known = None"),
    Fault("D2", "distributed.py", "return [(part, True) if len(part) else (batch[:1], False) for batch, part in parts]", "return [(part, True) for batch, part in parts if len(part)]"),
    Fault("D3", "distributed.py", "return allreduce_hook(dist.group.WORLD, bucket)", "future = torch.futures.Future()\n        future.set_result(bucket.buffer())\n        return future"),
    Fault("D4", "distributed.py", "return [(part, True) if len(part) else (batch[:1], False) for batch, part in parts]", "return [(part, True) if len(part) else (batch[:1], True) for batch, part in parts]"),
    Fault("D5", "files.py", "while not _try_lock(file):", "while False:"),
    Fault("D6", "distributed.py", "if told.get(key) != first.get(key)", "if False"),
    Fault("D7", "distributed.py", "max_restarts=restarts, monitor_interval", "max_restarts=0, monitor_interval"),
    Fault("D8", "train/resume.py", "if header.get(\"processes\", 1) != ranks.size:", "if False:"),
    # -- about what is stored
    Fault("H1", "checkpoint.py", "return bool((apart <= self.sums[:, 2]).all())", "return True"),
    Fault("H1", "checkpoint.py", "_ROUNDING = 2.0**-17", "_ROUNDING = 2.0**-30"),
    Fault("H1", "train/nodes.py", '"edge weights": [self.graph.adjacency.value],', ""),
    Fault("H1", "train/graphs.py", 'if part == "data" or whole is not self.train.whole:', 'if part == "data":'),
    Fault("H2", "jobs.py", '{**plain, "gcnlab": __version__}', "plain"),
    Fault("H2", "compare.py", 'if {**settings, **same, "data": job.data} == settings', "if {**settings, **same} == settings"),
    Fault("H2", "recipes/images.py", "parts = images.train_images, images.train_labels, images.test_images, images.test_labels", "parts = images.train_images, images.train_labels"),
    Fault("H3", "protocols.py", "jobs = [replace(job, data=_digest(job)) for job in jobs]", "pass"),
    Fault("H3", "protocols.py", "return digest_of(of_graphs, digest_of_folds([job], graphs))", "return of_graphs"),
    Fault("H4", "precompute.py", 'if (version := found.get("gcnlab")) != __version__:', "if False:"),
    Fault("H4", "data/__init__.py", "made_of = [__version__, reader", "made_of = [reader"),
    Fault("H5", "train/resume.py", "if made_with is None:", "if False:"),
    Fault("H5", "train/resume.py", "elif made_with is not None:", "elif False:"),
    Fault("H6", "jobs.py", "if number <= len(lines):", "if True:"),
    Fault("H6", "jobs.py", "check_fields(place, entry[\"result\"], fields, problem)", "entry[\"result\"]"),
    Fault("H6", "jobs.py", "file.truncate(len(content) - len(last))", "pass"),
    Fault("H7", "recipes/outputs.py", "except Exception as problem:", "except ZeroDivisionError as problem:"),
    Fault("H7", "recipes/runner.py", "        done(result)\n        with files.writing(\"report.html\") as file:\n            report.write(file, report.of_run(result, finish(files), tsne))", "        with files.writing(\"report.html\") as file:\n            report.write(file, report.of_run(result, finish(files), tsne))\n        done(result)"),
    Fault("S1", "graph/graph.py", "    if getattr(graph, \"is_batch\", False):", "    if False:"),
    Fault("S1", "graph/collection.py", "class_names=whole.class_names, name=whole.name, derived=derived,", "class_names=whole.class_names, name=whole.name, derived=derived, y=self._y.index_select(0, ids),"),
    Fault("S1", "scale.py", "        if self.operator is not None:\n            raise InputError(\n                f\"{method}", "        if False:\n            raise InputError(\n                f\"{method}"),
    Fault("S2", "machine.py", "    return a.type == b.type and _index(a) == _index(b)", "    return a == b"),
    Fault("S2", "machine.py", "        if not is_same_device(device, found[first]):", "        if False:"),
    Fault("S2", "train/nodes.py", "        part = part.to(next((p.device for p in model.parameters()), part.device))", "        part = part.to(part.device)"),
    Fault("S2", "sparse/matrix.py", "nnz[-1:].to(rowptr[0].device)", "nnz[-1:]"),
    Fault("S3", "sparse/matrix.py", "part.contiguous() if isinstance(part, Tensor) else part", "part"),
    Fault("S3", "sparse/kernels.py", "    value = value.contiguous()  # what", "    # what"),
    Fault("S4", "machine.py", "for folder in (group, *group.parents):", "for folder in (top,):"),
    Fault("S4", "jobs.py", "current_process().daemon else usable_cores()", "current_process().daemon else 2"),
    Fault("S5", "trace.py", "            module.training = mode", "            module.train(model.training)"),
    Fault("S5", "trace.py", "        with evaluation(model):", "        with torch.no_grad():"),
    Fault("S6", "train/optim.py", "                loss = closure()", "                pass"),
    Fault("S6", "train/optim.py", "mean.clone(), square.clone()", "mean, square"),
    Fault("S6", "train/optim.py", "    if closure is not None and closure.default is closure.empty:", "    if False:"),
    Fault("S7", "__init__.py", "    if name in _LAZY:", "    if name in _LAZY[1:]:"),
    Fault("S7", "graph/graph.py", "with_value(self.degree.to(a.dtype)) - a", "with_value(self.degree.to(a.dtype)) + a"),
    Fault("S7", "recipes/images.py", "    if num_val < 1:", "    if num_val < 0:"),
    Fault("S8", "recipes/images.py", "log_probabilities(model, val, mirrored), val.y", "log_probabilities(model, val, not mirrored), val.y"),
    Fault("S8", "recipes/images.py", "    if list(x.shape[1:]) != header[\"image_shape\"]:", "    if False:"),
    # -- about processes that are killed, and poor surroundings
    Fault("R1", "parent.py", "ctypes.CDLL(None).prctl(1, signal.SIGKILL)", "pass"),
    Fault("R1", "parent.py", "while is_there():", "while True:"),
    Fault("R1", "parent.py", "return lambda: os.getppid() == parent", "return lambda: os.getppid() != 1"),
    Fault("R2", "distributed.py", "                its_end.close()  # so that the pipe ends with the process\n", ""),
    Fault("R2", "distributed.py", "        for process in processes:\n            process.kill()\n", ""),
    Fault("R3", "distributed.py", "if getattr(multiprocessing.current_process(), \"_inheriting\", False):", "if False:"),
    Fault("R3", "jobs.py", "return 1 if multiprocessing.current_process().daemon else", "return"),
    Fault("R3", "distributed.py", "    if multiprocessing.current_process().daemon:", "    if False:"),
    Fault("R4", "machine.py", "return sys.stderr is not None and sys.stderr.isatty()", "return sys.stderr.isatty()"),
    Fault("R4", "machine.py", "    if sys.stderr is not None:  # for None", "    if True:  # for None"),
    Fault("R4", "cli.py", "    _open_standard_streams()\n", ""),
    Fault("R5", "cli.py", 'stream.reconfigure(errors="backslashreplace")', "pass"),
    Fault("R5", "cli.py", "text.getvalue().encode(sys.stdout.encoding)", "pass"),
    Fault("R6", "data/fetch.py", "    except RuntimeError:", "    except KeyError:"),
    Fault("R7", "data/fetch.py", "        except Exception as error:  # requests", "        except OSError:\n            return\n        except Exception as error:  # requests"),
    Fault("R7", "data/fetch.py", "for name in variables[:1]", "for name in ()"),
    Fault("R8", "data/fetch.py", "if file.left == left:", "if False:"),
    Fault("R8", "data/fetch.py", "if file.left == left:", "if left is not None:"),
    Fault("R9", "data/text.py", 'np.uint8(ord("0"))).astype(np.int64)', 'np.uint8(ord("0")))'),
    Fault("R9", "doctor.py", '"pandas": (1, 5)', '"pandas": (1, 4)'),
    # -- formulas
    Fault("Ã without the self-loop", "graph/graph.py", 'def normalize(self, self_loops: str | None = "fill"', "def normalize(self, self_loops: str | None = None", "graph"),
    Fault("a self-loop of 2", "sparse/matrix.py", "new_value = value.new_ones(nnz)", "new_value = value.new_full((nnz,), 2.0)", "sparse graph"),
    Fault("Â: the exponent", "graph/graph.py", "pow(-0.5 if norm", "pow(-0.6 if norm", "graph"),
    Fault("Â: columns not scaled", "graph/graph.py", 'cols=inverse if norm == "sym" else None', "cols=None", "graph"),
    Fault("rw: columns instead of rows", "graph/graph.py", 'matrix.scale(rows=inverse, cols=inverse if norm == "sym" else None)', 'matrix.scale(rows=inverse if norm == "sym" else None, cols=inverse)', "graph"),
    Fault("A transposed", "sparse/matrix.py", "return cls.from_coo(target, source, value, shape, duplicates)", "return cls.from_coo(source, target, value, shape, duplicates)", "sparse graph"),
    Fault("edges of one direction", "graph/convert.py", "both = not graph.is_directed() and u != v", "both = False", "graph"),
    Fault("L with a plus", "graph/graph.py", "identity - self.normalize(None)", "identity + self.normalize(None)", "graph"),
    Fault("L̃ without - I", "graph/graph.py", "(2.0 / lambda_max) - identity", "(2.0 / lambda_max) - 0.0 * identity", "graph"),
    Fault("a field of one hop less", "graph/field.py", "for _ in range(num_layers):\n        block", "for _ in range(num_layers - 1):\n        block", "graph"),
    Fault("S^T without order", "sparse/matrix.py", "self.value.index_select(0, order)", "self.value", "sparse"),
    Fault("the derivative of x by S", "sparse/kernels.py", "grad_x = apply_function(SpMM, t_rowptr, t_col, t_value, rowptr, col, value, g, False)", "grad_x = apply_function(SpMM, rowptr, col, value, t_rowptr, t_col, t_value, g, False)", "sparse"),
    Fault("the derivative of the values", "sparse/kernels.py", "grad_value = apply_function(_SDDMM, rowptr, col, g, x)", "grad_value = apply_function(_SDDMM, rowptr, col, x, g)", "sparse"),
    Fault("a batch on the wrong axis", "sparse/matrix.py", ".unflatten(1, columns.shape[1:]).movedim(0, 1)", ".unflatten(1, columns.shape[1:]).flip(1).movedim(0, 1)", "sparse layers"),
    Fault("P without its counts", "segments.py", "        p.counts = True", "        pass", "merging"),
    Fault("a given Â lost by a pickle", "graph/graph.py", "if key in _KNOWN or self._only is not None}", "if key in _KNOWN}", "merging"),
    Fault("rows not normalised", "sparse/matrix.py", "torch.where(total == 0, torch.ones_like(total), 1 / total)", "torch.ones_like(total)", "sparse"),
    Fault("means over batches: counts are summed", "train/history.py", "self.counts[name] = counts[name] if is_first else self.counts[name] + counts[name]", "self.counts[name] = counts[name]", "train"),
    Fault("best weights: of the seeds that are better", "train/history.py", "seeds = ... if bool(better.all()) else better", "seeds = ...", "train"),
    Fault("metrics of seeds that have stopped", "train/engine.py", "if not bool(self.active.all()):", "if False:", "train"),
    Fault("fused Adam of a transposed gradient", "train/optim.py", " and t.is_contiguous()", "", "train"),
    Fault("fused Adam of another shape", "train/optim.py", " and t.shape == p.shape", "", "train"),
    Fault("fused Adam of 16 bits", "train/optim.py", "p.dtype in (torch.float32, torch.float64)", "p.is_floating_point()", "train"),
    Fault("fused Adam without weight decay", "train/optim.py", 'beta2=beta2, weight_decay=group["weight_decay"]', "beta2=beta2, weight_decay=0.0", "train"),
    Fault("a matrix and its transpose hold each other", "sparse/matrix.py", "        if is_compiling:\n            t._transposed = self", "        if True:\n            t._transposed = self", "sparse"),
    Fault("dropout of nothing drops all", "layers/drop.py", "    if not dropped:\n        return x\n", "", "layers"),
    Fault("modes that do not see a product", "sparse/kernels.py", "(kernel if is_plain and not torch._C._len_torch_dispatch_stack() else operator)", "(kernel if is_plain else operator)", "sparse"),
    Fault("forward derivatives lost", "sparse/kernels.py", "    if not torch.is_grad_enabled() and torch.autograd.forward_ad._current_level < 0:", "    if not torch.is_grad_enabled():", "sparse"),
    Fault("dropout without its scale", "layers/drop.py", ".mul_(levels / (levels - dropped))", "", "layers"),
    Fault("dropout of 1 - p", "layers/drop.py", ".sub_(least - 1)", ".sub_(least).neg_()", "layers"),
    Fault("GCN without its bias", "layers/affine.py", "return linear(a_hat @ x, weight, bias)", "return linear(a_hat @ x, weight, None)", "layers"),
    Fault("ChebConv: the factor 2", "layers/polynomial.py", "c = term + 2 * (l_tilde @ h)", "c = term + l_tilde @ h", "layer_set"),
    Fault("ChebConv: C_{k+2}", "layers/polynomial.py", "return h if after is None else h - after", "return h if after is None else h + after", "layer_set"),
    Fault("APPNP: α and 1 - α", "layers/polynomial.py", "self.training) @ z, h, self.alpha)", "self.training) @ z, h, 1 - self.alpha)", "layer_set"),
    Fault("GCNII: β", "layers/polynomial.py", "return _lerp(h, linear(h, self.weight), self.beta)", "return _lerp(linear(h, self.weight), h, self.beta)", "layer_set"),
    Fault("GIN: 1 + ε", "layers/neighbours.py", "h = (1 + self.eps) * xw + adjacency @ xw", "h = self.eps * xw + adjacency @ xw", "layer_set"),
    Fault("GAT: source and target", "layers/neighbours.py", "t.index_select(0, row) + s.index_select(0, col)", "s.index_select(0, row) + t.index_select(0, col)", "layer_set"),
    Fault("GAT: not divided", "layers/neighbours.py", "@ head / total.unsqueeze(1)).to(h.dtype)", "@ head).to(h.dtype)", "layer_set"),
    Fault("the mean of a readout", "layers/readout.py", "return ((p @ h) / torch.where(total == 0, 1, total).unsqueeze(1)).to(h.dtype)", "return p @ h", "readout"),
    Fault("the softmax of all graphs", "segments.py", "return shifted / total[p.row]", "return shifted / total.sum()", "readout"),
    Fault("PageRank: α", "propagate.py", "alpha * (1 - alpha) ** k", "alpha**k * (1 - alpha)", "propagate consistency"),
    Fault("diffusion: S for S^T", "propagate.py", "power = s.T @ power", "power = s @ power", "propagate consistency"),
    Fault("label propagation: α", "propagate.py", "g = torch.lerp(start, s @ g, alpha)", "g = torch.lerp(s @ g, start, alpha)", "propagate"),
    Fault("accuracy of columns", "metrics.py", "return scores.argmax(1)", "return scores.argmin(1)", "metrics"),
    Fault("accuracy of a function's classes", "train/objective.py", "if is_of_classes and logits.shape[-1] >= max(2, num_outputs):", "if is_of_classes:", "targets"),
    # -- fast forms, beside their plain ones
    Fault("Â X W + b: only one product", "layers/affine.py", "h = a_hat @ linear(x, weight)", "h = linear(x, weight)", "plain_forms"),
    Fault("X W + b: a convolution without b", "layers/affine.py", "weight.t()[:, :, None, None], bias)", "weight.t()[:, :, None, None])", "plain_forms"),
    Fault("large dropout without its scale", "layers/drop.py", "_COINS.to(x.dtype) * _scale(p)", "_COINS.to(x.dtype)", "plain_forms"),
    Fault("relu and dropout: the derivative", "layers/drop.py", "g, out, 0.0).mul_(ctx.scale)", "g, out, 0.0)", "plain_forms"),
    Fault("softmax over segments: the weights", "segments.py", ".exp() * p.value.unsqueeze(1)", ".exp()", "plain_forms"),
    Fault("maximum over segments: a tie with nothing", "segments.py", "start.masked_fill_((p.rowptr.diff() > 0).unsqueeze(1), -math.inf)", "pass", "plain_forms"),
    Fault("maximum over neighbours: an empty row", "segments.py", "(pattern.rowptr.diff() > 0).unsqueeze(1), largest, 0)", "(pattern.rowptr.diff() >= 0).unsqueeze(1), largest, 0)", "plain_forms"),
    Fault("weighted norm: the derivative of the mean", "layers/norm.py", "    through.mul_(kept.share.unsqueeze(-1))\n", "", "plain_forms"),
    # -- trainings as one stack
    Fault("averages of several batches: how many nodes", "train/norms.py", "add(norm, float(m.sum()) if m.dim() == 1", "add(norm, float(len(m)) if m.dim() == 1", "train"),
    Fault("blocks: nodes that are added count", "graph/blocks.py", "(is_own * ones).flatten()", "(is_own * 0 + ones).flatten()", "trainings"),
    Fault("blocks: columns", "graph/blocks.py", "matrix.col + move, matrix.value", "matrix.col, matrix.value", "trainings"),
    Fault("blocks: columns of the transpose", "graph/blocks.py", "t_col + move, order", "t_col, order", "trainings"),
    Fault("blocks: all graphs count", "graph/blocks.py", "< first_graph.diff()[:, None]", "< b", "trainings"),
    Fault("a stack's orders", "train/trainings.py", "torch.randperm(len(own), generator=shuffle)", "torch.randperm(len(own))", "trainings"),
    Fault("a stack of unequal numbers of batches", "train/trainings.py", "groups.setdefault(feed.num_batches, [])", "groups.setdefault(0, [])", "trainings"),
    Fault("a stack of models that count added nodes", "train/trainings.py", "if not merges_nodes(first) or any(", "if any(", "trainings"),
    Fault("a stack with a batch of one node", "train/trainings.py", "values[:size].sum()) < 2", "values[:size].sum()) < 0", "trainings"),
    Fault("a stack with an operator of a batch", "train/trainings.py", "any(feed.operator is not None or", "any(", "trainings"),
    Fault("a stack resumed in another order", "train/engine.py", 'self.feed.set_rng_state(training.get("feed", []))', "pass", "trainings"),
    Fault("a training that starts from the seed of its stack", "train/engine.py", "generators.set_seed(own[0])", "pass", "trainings"),
    Fault("a stack's accuracy: rows that are added", "train/objective.py", "(is_right * own).sum(-1).double() / own", "is_right.sum(-1).double() / own", "trainings"),
    Fault("a stack's loss: rows that are added", "train/objective.py", "w if batch.own is None else w * batch.own", "w", "trainings"),
    Fault("a stack's columns in another order", "train/engine.py", "sorted(range(len(places)), key=places.__getitem__)", "range(len(places))", "trainings"),
    Fault("a product with another pattern for each item", "sparse/kernels.py", "if in_dims[0] is not None or in_dims[1] is not None:", "if False:", "trainings"),
    Fault("a block: the sums of its rows", "sparse/blocks.py", "self._items(self.whole.row_sums())", "self._items(self.whole.row_sums() + 1)", "trainings"),
    Fault("stacks of folds by the workers", "protocols.py", "if len(groups) < min(workers, len(jobs)):", "if False:", "protocols"),
    Fault("readout of signals: the mean", "layers/readout.py", '"mean": lambda h: h.mean(1)', '"mean": lambda h: h.sum(1)', "plain_forms"),
    Fault("inserted loops: the entries after them", "sparse/matrix.py", "num_new[row] + torch.where(col > row, is_new[row], 0)", "num_new[row] + torch.where(col > row, 0, is_new[row])", "plain_forms"),
    Fault("entries by a mask: the rows", "sparse/matrix.py", "rowptr = starts(keep)[self.rowptr.long()]", "rowptr = starts(~keep)[self.rowptr.long()]", "sparse"),
    Fault("transpose: the order of entries", "sparse/kernels.py", "order = torch.from_numpy(col.short().numpy().argsort(kind=\"stable\"))", "order = torch.from_numpy(col.short().numpy().argsort(kind=\"stable\")[::-1].copy())", "plain_forms"),
    Fault("sampled product of two", "sparse/kernels.py", "g, x.t(), beta=0)", "g, x.t(), beta=0, alpha=2)", "plain_forms"),
    Fault("merged nodes: the columns", "graph/merging.py", "col_classes[rows.col.long()], rows.value.double()", "col_classes[rows.col.long()], 2 * rows.value.double()", "plain_forms"),
    Fault("alike nodes: the loops", "graph/merging.py", "colour = _refined(colour, adjacency.diagonal())", "pass", "plain_forms"),
    Fault("classes by depth: the features", "graph/merging.py", "classes = [hashes.split_by_rows(torch.zeros(matrix.shape[0], dtype=torch.int64, device=matrix.device), x)]", "classes = [torch.zeros(matrix.shape[0], dtype=torch.int64, device=matrix.device)]", "plain_forms"),
    Fault("batches by layer: the rows of each batch", "graph/unfolding.py", "col = before.place.index_select(0, batch[cut.row] * before.num_classes + cut.col)", "col = before.place.index_select(0, cut.col)", "merging"),
    Fault("batches by layer: how many nodes a row stands for", "graph/unfolding.py", "LayerReadout(multiplicity[r0:r1],", "LayerReadout(torch.ones_like(multiplicity[r0:r1]),", "merging"),
    Fault("batches by layer: the kept transpose", "graph/unfolding.py", "t_col[e0:e1] - r0, order[e0:e1] - e0", "t_col[e0:e1] - r0, order[e0:e1].flip(0) - e0", "merging"),
    Fault("fused layers: the derivative of relu", "layers/fused.py", "g = torch.ops.aten.threshold_backward(g, out[i], 0.0)", "pass", "plain_forms"),
    Fault("fused layers: the other outputs' derivative", "layers/fused.py", "g = own if through is None else through if own is None else through.add_(own)", "g = own if through is None else through", "plain_forms"),
    Fault("fused layers: the transpose", "layers/fused.py", "g = g if first else _times_transposed(inputs.operators[i], g)", "g = g if first or len(g) == inputs.operators[i].shape[1] else _times_transposed(inputs.operators[i], g)", "plain_forms"),
    Fault("fused layers: the bias in the running mean", "layers/fused.py", "                averages[0].add_(bias * momentum)", "                pass", "models"),
    Fault("fused layers: outputs kept by the context", "layers/fused.py", "steps.append(_Step(factor if first or not i else None, first, kept))", "steps.append(_Step(factor, first, kept))", "models"),
    Fault("GCN: a residual of the output", "models.py", "z = z + self.residuals[i](h)", "z = z + self.residuals[i - 1](h)", "block"),
    Fault("GCN: jumping knowledge of the last layer alone", "models.py", "self.jump(read)", "self.jump([h] * len(read))", "block"),
    Fault("GCN: no norm before the last linear map", "models.py", "if self.norms is None or i == self.num_hidden:", "if self.norms is None or i >= self.num_layers - 1:", "block"),
    Fault("GCN: layers of own rows in parts", "scale.py", "result = model.layer(i, own, part.a_hat)[part.targets]", "result = model.layer(i, own, part.a_hat)[: len(part.targets)]", "block"),
    Fault("GraphNorm: the whole mean", "layers/norm.py", "centred = h - self.mean_scale * graph_means(h, batch)", "centred = h - graph_means(h, batch)", "block"),
    Fault("random walks: parts that mix", "sparse/encodings.py", "column = place[rows] - start", "column = rows - start", "encodings"),
    Fault("Laplacian: the trivial vector kept", "sparse/encodings.py", "vectors = vectors[:, 1 : k + 1]", "vectors = vectors[:, :k]", "encodings"),
    Fault("the derivative of a large weight", "layers/affine.py", "linear(g.t(), x).t()", "linear(g.t(), x).t().flip(0)", "plain_forms"),
    Fault("a product of oneDNN without its bias", "layers/affine.py", "x, weight.t(), bias, \"none\"", "x, weight.t(), None, \"none\"", "plain_forms"),
    Fault("a sampler's rows: the diagonal", "scale.py", "self.diagonal * self.scale.square()", "self.diagonal * self.scale", "plain_forms"),
    Fault("Adam: its correction", "train/optim.py", "value=-float(group[\"lr\"]) / (1 - beta1**steps)", "value=-float(group[\"lr\"])", "train"),
    Fault("threads: the work of a sparse product", "threads.py", "work += _SPARSE * step.entries * min(weight.shape[-2:])", "work += step.entries * min(weight.shape[-2:])", "threads"),
    Fault("threads: torch's number afterwards", "threads.py", "torch.set_num_threads(before)", "pass", "threads"),
    Fault("threads: torch's number in other threads", "threads.py", "args=(without_us,)", "args=(number,)", "threads"),
    Fault("threads: a training within another", "threads.py", "return changed[0] if changed is not None and now == changed[1] else now", "return now", "threads"),
    Fault("threads: a user's lower number", "threads.py", "if (number := _torchs_number()) != _AT_IMPORT:", "if (number := _torchs_number()) > _AT_IMPORT:", "threads"),
    Fault("threads: a share is no user's number", "threads.py", "and os.environ.get(_SHARE) != os.environ[name]:", "and True:", "threads"),
    Fault("threads: when waits give way", "threads.py", "is_busy = 1e-9 * waited > BUSY * (now - self._time)", "is_busy = 1e-9 * waited > 0", "threads"),
    Fault("threads: the end of a parked team", "threads.py", "            waits.end()", "            pass", "threads"),
    Fault("threads: the work of a stack", "train/engine.py", "threads.work_of(self.stack.model, step, len(self.seeds))", "threads.work_of(self.stack.model, step)", "threads"),
    Fault("threads: the mean batch of some graphs", "train/graphs.py", "part * data.num_nodes / max(whole.num_nodes, 1)", "part", "threads"),
]  # fmt: skip


def plant(fault: Fault) -> tuple[bool, str, float]:
    """(whether a test failed, its name or what went wrong, seconds)."""
    tests = TESTS[fault.of] if fault.of in TESTS else [f"test_{name}.py" for name in fault.tests.split()]
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        for part in (
            "gcnlab",
            "tests",
            "benchmarks",
            "examples",
            "docs",
            "pyproject.toml",
            "constraints-oldest.txt",
            "datasets",
        ):
            source = CHECKOUT / part
            if source.is_dir():
                shutil.copytree(
                    source, Path(folder, part), ignore=shutil.ignore_patterns("__pycache__", "raw", "processed")
                )
            else:
                shutil.copy(source, folder)
        path = Path(folder, "gcnlab", fault.file)
        content = path.read_text()
        if fault.line not in content:
            return False, "the line is not there", 0.0
        path.write_text(content.replace(fault.line, fault.instead, 1))
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        environment.pop("GCNLAB_REQUIRE_DATA", None)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    seen = done.returncode == 1 and bool(failed) and not failed[0].startswith("ERROR")
    return seen, (failed or done.stdout.splitlines()[-1:] or ["?"])[0], time.time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="faults whose name starts so")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    faults = [fault for fault in FAULTS if fault.of.startswith(args.only or "")]
    began, unseen = time.time(), []
    with ThreadPoolExecutor(args.jobs) as pool:
        for fault, (seen, by, seconds) in zip(faults, pool.map(plant, faults), strict=True):
            print(
                f"{'seen' if seen else 'NOT SEEN'}  {fault.of}: {fault.instead[:60]!r}  {by[:110]} ({seconds:.0f} s)",
                flush=True,
            )
            unseen += [] if seen else [fault.of]
    print(f"{len(faults) - len(unseen)} of {len(faults)} faults seen")
    if args.json:
        record = {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "promises": len({fault.of for fault in faults if fault.of in TESTS}),
            "in_promises": sum(fault.of in TESTS for fault in faults),
            "in_formulas": sum(fault.of not in TESTS for fault in faults),
            "seen": len(faults) - len(unseen),
            "unseen": unseen,
            "seconds": round(time.time() - began),
        }
        Path(args.json).write_text(json.dumps(record, indent=2) + "\n")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
