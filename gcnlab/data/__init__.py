"""Data sets by name or from one's own files: `load`, and what the command line needs to look after them."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor

from .. import __version__
from ..checks import check_choice, check_flag
from ..errors import (
    CorruptFileError,
    DatasetFormatError,
    DatasetNotFoundError,
    InputError,
    InputTypeError,
    did_you_mean,
)
from ..files import lock, read_arrays, sha256_of, write_arrays
from ..graph import Graph, GraphCollection
from ..sparse import SparseMatrix
from ..structure import check_array
from . import (
    cifar,
    edge_lists,
    errica,
    gin_text,
    heterophilous,
    idx,
    image_folder,
    image_npz,
    mat_networks,
    npz,
    ogb,
    planetoid,
    social,
    tables,
    tu,
)
from . import synthetic as synthetic
from .archive import Source
from .fetch import (
    closed_files_named,
    data_roots,
    edition,
    expand_user,
    fetch_raw,
    file_states,
    raw_folder,
    writable_folder,
)
from .image_sets import ImageSet, digits, warn_of_twins
from .manifest import catalog
from .ogb import ogb_evaluator

if TYPE_CHECKING:
    from .readme import readme_table as readme_table

__all__ = [
    "ImageSet",
    "catalog",
    "fetch",
    "folds",
    "load",
    "nested_folds",
    "ogb_evaluator",
    "ogb_split",
    "readme_table",
    "verify",
]

_EMBEDDED = Path(__file__).parent / "embedded"
_PROCESSED = "graph.gcnlab"

# A reader has FORMAT_VERSION, check_options(**options), read(folder, name) -> (header, arrays), counts(header, arrays),
# check(path, header, arrays) of what a processed file holds, and to_graph(header, arrays, **options); "format" in the
# manifest says which one a data set needs, "path" which file of the folder it reads (else the folder), "read" its further
# arguments. Those that read archives take max_bytes, the most that they may unpack, after the name.
_READERS: dict[str, ModuleType] = {
    "planetoid": planetoid,
    "tu": tu,
    "gin_text": gin_text,
    "npz": npz,
    "tables": tables,
    "ogb": ogb,
    "heterophilous": heterophilous,
    "mat_networks": mat_networks,
    "edge_lists": edge_lists,
}
# Image sets are read as quickly as a processed form would be: `read(folder, name, **options)` makes the ImageSet itself.
_IMAGE_READERS: list[ModuleType] = [idx, cifar, image_npz, image_folder]

# What makes a Graph of files that `load` does not read, by their suffix.
_NETWORKX = "Graph.from_networkx(networkx.{}(path)) reads this one"
_PANDAS = "Graph.from_pandas(pandas.{}(path), source, target) reads this one"
_EDGE_LIST = "Graph.from_networkx(networkx.read_edgelist(path)) reads a list of edges"
_WAYS_IN = {
    ".gml": _NETWORKX.format("read_gml"),
    ".graphml": _NETWORKX.format("read_graphml"),
    ".gexf": _NETWORKX.format("read_gexf"),
    ".net": _NETWORKX.format("read_pajek"),
    ".adjlist": _NETWORKX.format("read_adjlist"),
    ".json": "Graph.from_networkx(networkx.node_link_graph(json.load(file))) reads a node-link file",
    ".csv": _PANDAS.format("read_csv"),
    ".tsv": _PANDAS.format("read_table"),
    ".parquet": _PANDAS.format("read_parquet"),
    ".xlsx": _PANDAS.format("read_excel"),
    ".xls": _PANDAS.format("read_excel"),
    **dict.fromkeys((".edgelist", ".edges", ".txt", ".cites", ".dat"), _EDGE_LIST),
    ".mtx": "Graph.from_scipy(scipy.io.mmread(path)) reads this one",
    ".npy": "Graph.from_dense(numpy.load(path)) reads a matrix, Graph.from_edges a list of edges",
    ".pt": "Graph.from_pyg takes the Data that torch.load(path, weights_only=True) gives",
    **dict.fromkeys((".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar"), "unpack it and pass its folder"),
}

# What is in a zip archive of images.
_PICTURES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp", ".bmp", ".tif", ".heic", "-ubyte", "-ubyte.gz")

_Path = str | os.PathLike[str]
_NodeSet = Literal[
    "karate", "cora", "citeseer", "pubmed", "facebook", "blogcatalog", "amazon-photo", "amazon-computers", "coauthor-cs",
    "chameleon-filtered", "chameleon", "actor", "texas", "cornell", "minesweeper", "amherst41", "johns-hopkins55", "reed98",
    "europe-airports", "brazil-airports", "davis", "ogbn-arxiv", "ogbn-products",
]  # fmt: skip
_Network = Literal["les-miserables"]
_GraphSet = Literal[
    "mutag", "proteins", "nci1", "dd", "imdb-binary", "imdb-multi", "reddit-binary", "collab", "ogbg-molhiv"
]
_ImageSet = Literal["fashion-mnist", "mnist", "digits"]


@overload
def load(name: _NodeSet | _Network, root: _Path | None = None, download: bool = True, **options: Any) -> Graph: ...
@overload
def load(name: _GraphSet, root: _Path | None = None, download: bool = True, **options: Any) -> GraphCollection: ...
@overload
def load(name: _ImageSet, root: _Path | None = None, download: bool = True, **options: Any) -> ImageSet: ...
@overload
def load(name: _Path, root: _Path | None = None, download: bool = True, **options: Any) -> Any: ...
@closed_files_named()
def load(name: _Path, root: _Path | None = None, download: bool = True, **options: Any) -> Any:
    """A data set by its name in `catalog()`, or one's own files by the path of their folder, zip archive or npz file.

    One graph with labelled nodes is a Graph, a set of labelled graphs a GraphCollection, a set of images an ImageSet.

    The raw files of a named set are compared with their sha256 before they are opened, each time (OGB publishes none: of
    its sets the counts are compared). What was read from them is kept in the first writable data root and read from there
    the next time; images are read anew. A path is read as it is.

    Args:
        name: a Graph: "karate", "cora", "citeseer", "pubmed", "facebook", "blogcatalog", "amazon-photo",
            "amazon-computers", "coauthor-cs", "chameleon-filtered", "chameleon", "actor", "texas", "cornell",
            "minesweeper", "amherst41", "johns-hopkins55", "reed98", "europe-airports", "brazil-airports", "davis",
            "les-miserables", "ogbn-arxiv", "ogbn-products"; a GraphCollection: "mutag", "proteins", "nci1",
            "dd", "imdb-binary", "imdb-multi", "reddit-binary", "collab", "ogbg-molhiv"; an ImageSet: "fashion-mnist", "mnist", "digits". Or a
            path: of a folder of Planetoid files `ind.<name>.*`; of an npz file (`gcnlab.data.npz` and
            `gcnlab.data.heterophilous` say what it holds); of a Matlab file (`gcnlab.data.mat_networks`); of a folder or
            zip archive of TU text (`gcnlab.data.tu`), GIN text (`gcnlab.data.gin_text`) or CSV tables
            (`gcnlab.data.tables`); of a folder that was OGB's zip archive (`gcnlab.data.ogb`); or of a folder of idx
            files (`gcnlab.data.idx`), CIFAR-10's binary files (`gcnlab.data.cifar`) or pictures with one sub-folder per
            class (`gcnlab.data.image_folder`); or of Keras' npz file of images (`gcnlab.data.image_npz`).
        root: the data root; by default those of the environment variable GCNLAB_DATA (several are separated as
            in PATH), else `datasets/` of a checkout, else the user's cache folder.
        download: whether missing files may be downloaded.
        **options: Planetoid sets take `split` ("public", "random" or "full"), and for "random" `seed` and
            `train_per_class`; see `gcnlab.data.planetoid.to_graph`. Other graphs take `split` ("random", which is
            60/20/20, or None) and `seed`; see `gcnlab.data.node_sets.to_graph`. An npz file's own masks are read unless
            `split` says otherwise: "given" are those, [N, S] where it has several splits, which is the form of "actor" and
            its likes. "amazon-photo", "amazon-computers" and "coauthor-cs" take "tunedgnn", too: the fixed 60/20/20 of Luo
            et al. 2024. `gcnlab.split` draws other splits. Collections take `features`,
            `attributes`, `max_degree` and `k`; see `gcnlab.data.graph_sets.to_graph`. OGB's sets take `undirected` and
            `features`; see `gcnlab.data.ogb.to_graph`. A folder of pictures takes `seed`, which draws its
            test part and its order, and `size`, (height, width), to which all are resized; see `gcnlab.data.image_folder`.

    Raises:
        DatasetNotFoundError: an unknown name; or files are missing and cannot be had, which says what to put where.
        ChecksumError: a raw file of a named set has other bytes than its source published.
        DatasetFormatError, UnsafeFileError: one's own files are malformed, or ask for code.
        InputError, InputTypeError: an option or a value that the set does not take.

    >>> load("karate")
    Graph(karate: 34 nodes, 156 stored edges, 2 classes)
    """
    if not isinstance(name, str | os.PathLike):
        raise InputTypeError(f"name: got {type(name).__name__}, expected a data set's name or the path of its files.")
    check_flag("download", download)
    if isinstance(name, os.PathLike) or name.lower() not in catalog():
        return _load_path(expand_user(name), options)
    name = name.lower()
    entry = catalog()[name]
    if entry["embedded"]:
        _check_options(name, {}, options)
        return _EMBEDDED_SETS[name](name)
    roots = data_roots(root)
    if entry["format"] == "idx":
        _check_options(name, {}, options)
        return _load_images(name, entry, roots, download)
    entry = edition(name, entry, roots)
    reader = _READERS[entry["format"]]
    _check_options(name, inspect.signature(reader.check_options).parameters, options)
    split_file = None
    if fixed := entry.get("split_files"):  # published beside the set, each file a value of `split`
        split = check_choice("split", options.get("split", "random"), ("random", *fixed, None))
        if split_file := fixed.get(split):
            options["split"] = None
    reader.check_options(**options)
    graph = reader.to_graph(*_read_known(name, entry, roots, download, reader), **options)
    if split_file is None:
        return graph
    folder = fetch_raw(name, {**entry, "files": [split_file]}, roots, download)
    return graph.replace(**npz.read_split(folder / split_file["name"], graph.num_nodes))


@closed_files_named()
def fetch(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Download what is missing of a named set, check all of it, and return the folder of its raw files.

    Raises DatasetNotFoundError and ChecksumError as `load` does.
    """
    entry, roots = _entry(name), data_roots(root)
    return _EMBEDDED if entry["embedded"] else fetch_raw(name, edition(name, entry, roots), roots)


@closed_files_named()
def folds(name: str, root: str | os.PathLike[str] | None = None, download: bool = True) -> gin_text.Folds:
    """The ten published (train, test) lists of a graph collection: graph numbers, [num_train] and [num_test] int64.

    They are the files `<name>/folds/{train,test}_idx-K.txt` of the first data root that has them, K from 1 to 10, or
    those in the set's own archive. No graph is in train and test of one fold, or in two tests. Graphs that no fold tests
    are `folds(name).left_out`: of proteins 3 of 1,113, which every fold trains on.

    Raises:
        DatasetNotFoundError: an unknown name, or there are no such files; says where they belong.
        DatasetFormatError: a list is malformed, or they overlap; with file, line and value.
    """
    check_flag("download", download)
    entry, num_graphs, roots = _entry(name), _num_graphs(name), data_roots(root)
    for folder in (root / name / "folds" for root in roots):
        if folder.is_dir():
            return gin_text.read_folds(Source(folder), num_graphs)
    entry = edition(name, entry, roots)
    if not entry.get("has_folds"):
        raise DatasetNotFoundError(
            f"{name} has no fold lists here. Put into {roots[0] / name / 'folds'} these files: train_idx-K.txt and "
            "test_idx-K.txt for K from 1 to 10, graph numbers from 0, one a line."
        )
    with Source(fetch_raw(name, entry, roots, download), entry["max_unpacked_bytes"]) as source:
        return gin_text.read_folds(source, num_graphs)


@closed_files_named()
def nested_folds(
    name: str, root: str | os.PathLike[str] | None = None, download: bool = True
) -> list[errica.NestedFold]:
    """The ten folds of Errica et al. (2020) of a graph collection: (train, val, test) graph numbers, each int64.

    Each has about 81 % of the graphs to train on, 9 % to select the model and the epoch, and 10 % to test; each graph is in
    one test part. They are in the file `folds-errica/<SET>.json` of a data root, compared with its sha256 before it is
    opened, and downloaded where it is missing; gcnlab does not ship it, since its repository is under the GPL-3.0.

    The numbers count graphs as the TU collection does. The graphs of collab and reddit-binary come from elsewhere: the folds
    are stratified by their labels, but that their order within a class is TU's is not proved.

    Raises:
        DatasetNotFoundError: an unknown name, a set without such folds, or the file is missing and cannot be had.
        ChecksumError: the file has other bytes.
        DatasetFormatError: the file is malformed; with file, place and value.
    """
    check_flag("download", download)
    file, num_graphs = _entry(name).get("nested_folds"), _num_graphs(name)
    if file is None:
        have = ", ".join(other for other, entry in catalog().items() if "nested_folds" in entry)
        raise DatasetNotFoundError(f"name: Errica et al. give no folds of {name}; they do of {have}.")
    folder = fetch_raw(errica.FOLDER, {"files": [file], "folder": "."}, data_roots(root), download)
    return errica.read_nested(folder / file["name"], num_graphs)


@closed_files_named()
def ogb_split(
    name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The train, validation and test lists of an OGB set, each int64: graph numbers (ogbg), or nodes (ogbn).

    Args:
        name: "ogbn-..." or "ogbg-..." of `catalog()`, or the path of the folder that was OGB's zip archive.
        root: the data root, as for `load`.

    Raises:
        DatasetNotFoundError: an unknown name, or there are no such files; says where they belong.
        DatasetFormatError: a list is malformed, or they overlap; with file, line and value.
    """
    if isinstance(name, os.PathLike) or name not in catalog():
        folder = expand_user(name)
        if not ogb.is_ogb(folder):
            raise DatasetNotFoundError(f"name: {str(name)!r} is neither a data set nor a folder with OGB's raw/ files.")
        return ogb.read_split(folder)
    entry = catalog()[name]
    if entry["format"] != "ogb":
        raise InputError(f"name: {name} is not one of OGB's sets.")
    return ogb.read_split(fetch_raw(name, entry, data_roots(root), download=False))


@closed_files_named()
def verify(name: str, root: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """The state of each raw file of a named set: "ok", "missing", "wrong sha256", or "unverified" or "wrong size" where
    its source publishes no sha256.

    Downloads nothing.

    >>> verify("karate")  # it comes with gcnlab
    {}
    """
    roots = data_roots(root)
    entry = edition(name, _entry(name), roots)
    folder = raw_folder(name, entry, roots)
    splits = [file for file in entry.get("split_files", {}).values() if (folder / file["name"]).is_file()]
    return file_states(folder, [*entry["files"], *splits])


def _entry(name: str) -> dict[str, Any]:
    if name not in catalog():
        raise DatasetNotFoundError(
            f"name: {name!r} is not a data set; the names are {', '.join(catalog())}." + did_you_mean(name, catalog())
        )
    return catalog()[name]


def _num_graphs(name: str) -> int:
    """The graphs of a named collection; raises InputError for a set of another kind."""
    counts = _entry(name)["counts"]
    if "graphs" not in counts:
        kind = "a set of images" if "height" in counts else "one graph"
        raise InputError(f"name: {name} is {kind}; folds are of collections, such as imdb-binary.")
    return counts["graphs"]


def _check_options(name: str, allowed: Any, options: dict[str, Any]) -> None:
    for option in options:
        if option not in allowed:
            raise InputError(f"option {option!r} is unknown; {name} takes {', '.join(allowed) or 'no options'}.")


def _load_path(path: Path, options: dict[str, Any]) -> Any:
    if not path.exists():
        raise DatasetNotFoundError(
            f"name: {str(path)!r} is neither a data set nor a path that exists; data sets: {', '.join(catalog())}."
            + did_you_mean(str(path), catalog())
        )
    reader, name = _reader_of(path)
    _check_options(str(path), inspect.signature(reader.check_options).parameters, options)
    reader.check_options(**options)
    if reader in _IMAGE_READERS:
        images = reader.read(path, name, **options)
        warn_of_twins(images)
        return images
    return reader.to_graph(*reader.read(path, name), **options)


def _reader_of(path: Path) -> tuple[ModuleType, str]:
    """Which reader one's own files need, told from their names, and what the set is called."""
    if path.suffix == ".npz" and path.is_file():
        if heterophilous.is_heterophilous(path):
            return heterophilous, path.stem
        return image_npz if image_npz.is_image_npz(path) else npz, path.stem
    if path.suffix == ".mat" and path.is_file():
        return mat_networks, path.stem
    if path.is_dir():
        names = planetoid.names_in(path)
        if len(names) == 1:
            return planetoid, names[0]
        if not names and len(found := list(path.glob("*.npz"))) == 1:
            return npz, found[0].stem
        if names:
            raise DatasetFormatError(
                path, "expected the Planetoid files ind.<name>.* of one name", value=", ".join(names)
            )
        for reader, is_form in ((ogb, ogb.is_ogb), (idx, idx.is_idx), (cifar, cifar.is_cifar)):
            if is_form(path):
                return reader, path.resolve().name
    if path.is_file() and (way_in := _WAYS_IN.get(path.suffix.lower())):
        raise DatasetFormatError(path, f"load reads folders, zip archives and npz files; {way_in}")
    with Source(path) as source:
        if found_tu := source.find("_A.txt"):
            return tu, found_tu[0].rpartition("/")[2].removesuffix("_A.txt")
        if source.find("edges.csv"):
            return tables, source.path.stem
        if path.is_file() and (inner := next(filter(None, map(source.find, _PICTURES)), None)):
            problem = "a zip archive of pictures or idx files; unpack it and pass the folder"
            raise DatasetFormatError(path, problem, value=inner[0])
        if source.find(".txt") and not image_folder.has_classes(path):  # which may have a README.txt beside them
            return gin_text, source.path.stem
    if image_folder.is_image_folder(path):
        return image_folder, path.resolve().name
    raise DatasetFormatError(
        path,
        "expected a folder of Planetoid files ind.<name>.*, an npz file, or a folder or zip archive of NAME_A.txt and "
        "the other TU files, of NAME.txt in the GIN form, or of edges.csv with features.csv or labels.csv, or a folder of "
        "OGB's raw/ and split/, of idx files, of CIFAR-10's data_batch_*.bin, or of images with one sub-folder a class",
        value="none",
    )


def _read_known(
    name: str, entry: dict[str, Any], roots: list[Path], download: bool, reader: ModuleType
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `reader` gives for the raw files: from the processed file that fits them, else made, and kept."""
    raw = fetch_raw(name, entry, roots, download)
    sha256 = (file["sha256"] or sha256_of(raw / file["name"]) for file in entry["files"])
    made_of = [__version__, reader.__name__, reader.FORMAT_VERSION, *sha256]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()

    def read_processed() -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        for root in roots:
            path = root / name / "processed" / _PROCESSED
            try:
                header, arrays = read_arrays(path)
                if header.get("key") == key:
                    reader.check(path, header, arrays)
                    if not arrays["y"].is_floating_point():
                        check_array(path, arrays, "y", [torch.int64], [None], -1, entry["counts"]["classes"])
                    return header, arrays
            except CorruptFileError as error:
                warnings.warn(f"{error}; it is made again from the raw files.", stacklevel=5)
            except OSError:  # not made yet, or not ours to read
                pass
        return None

    def process() -> tuple[dict[str, Any], dict[str, Tensor]]:
        limit = [entry["max_unpacked_bytes"]] if "max_unpacked_bytes" in entry else []
        header, arrays = reader.read(raw / entry.get("path", ""), name, *limit, **entry.get("read", {}))
        counts, stated = reader.counts(header, arrays), entry["counts"]
        if entry.get("folder") == "published" and "duplicates" in counts:  # a form may list an edge more often
            counts |= {"duplicates": stated["duplicates"]}
        if counts != stated:
            raise DatasetFormatError(raw, f"read {counts}, but the manifest states {stated}")
        if entry.get("folder") == "published":
            _check_content(name, raw, entry, arrays)
        return {**header, "key": key}, arrays

    if found := read_processed():
        return found
    folder = writable_folder(name, roots)
    if folder is None:
        return process()
    with lock(folder):
        if found := read_processed():  # another process made it while this one waited
            return found
        header, arrays = process()
        try:
            write_arrays(folder / "processed" / _PROCESSED, header, arrays)
        except OSError as error:  # the data is read all the same
            warnings.warn(f"the processed form of {name} is not kept: {error}", stacklevel=4)
        return header, arrays


def _check_content(name: str, folder: Path, entry: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """Raise DatasetFormatError unless a published archive holds what the set's own files hold; warn of another order."""
    from .identity import content_digest, order_digest  # only after a download

    if content_digest(arrays) != entry["content_sha256"]:
        file = entry["files"][0]["name"]
        raise DatasetFormatError(
            folder / file,
            f"it has the counts of {name}, but other content than the files that gcnlab was measured on; "
            f"gcnlab.load({file!r}) reads it as your own",
        )
    if "order_sha256" in entry and order_digest(arrays) != entry["order_sha256"]:
        warnings.warn(
            f"{name}: {folder} has the graphs of the set in another order, so that published fold lists, which count them, "
            "do not fit it.",
            stacklevel=6,
        )


def _load_images(name: str, entry: dict[str, Any], roots: list[Path], download: bool) -> ImageSet:
    raw = fetch_raw(name, entry, roots, download)
    unpacked = {file["name"].removesuffix(".gz"): file["unpacked_sha256"] for file in entry["files"]}
    return idx.read(raw, name, entry["class_names"], entry["augmentations"], unpacked)


def _karate(name: str) -> Graph:
    content = json.loads((_EMBEDDED / "karate.json").read_text(encoding="utf-8"))
    num_nodes = len(content["y"])
    row, col = torch.tensor(content["edges"]).T
    adjacency = SparseMatrix.from_coo(torch.cat([row, col]), torch.cat([col, row]), shape=(num_nodes, num_nodes))
    train_mask, val_mask = torch.zeros(2, num_nodes, dtype=torch.bool)
    train_mask[content["train"]] = True
    val_mask[content["val"]] = True
    return Graph(
        adjacency,
        y=torch.tensor(content["y"]),
        train_mask=train_mask,
        val_mask=val_mask,
        test_mask=~(train_mask | val_mask),
        node_names=range(num_nodes),
        class_names=content["class_names"],
        name=name,
    )


def _digits(name: str) -> ImageSet:
    return digits(name, catalog()[name]["augmentations"])


_EMBEDDED_SETS: dict[str, Callable[[str], Graph | ImageSet]] = {
    "karate": _karate,
    "davis": social.davis,
    "les-miserables": social.les_miserables,
    "digits": _digits,
}


def __getattr__(name: str) -> Any:
    if name == "readme_table":  # only needed after an edit of the manifest, so that `import gcnlab` leaves it out
        return importlib.import_module(".readme", __name__).readme_table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
