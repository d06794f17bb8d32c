"""The text of `datasets/README.md`, made from the manifest."""

from __future__ import annotations

from typing import Any

from .manifest import catalog

_README = """\
# Data sets

This folder is the data root of a checkout; git ignores all of it but this page, which is the output of
`gcnlab.data.readme_table()`, made from `gcnlab/data/manifest.json`. `gcnlab.load(name)` looks for a data set in

1. the argument `root`, else
2. the folders of the environment variable `GCNLAB_DATA`, separated as in `PATH`, else
3. this folder, when gcnlab runs from a checkout, else
4. the user's cache folder.

Each is laid out as

    <name>/raw/<file>      the bytes of the source, compared with their sha256 before each use
    <name>/processed/      what gcnlab read from them; made again whenever it is missing, damaged or out of date

Sets of one family share the raw folder of the family, such as `heterophilous/raw/`; the table names it before the file.

A root may be read-only: what is written (downloads, processed forms) goes to the first that is not. Missing files are
downloaded from the source over https; without a connection, put them into `<name>/raw/` by hand. Your own files need no
name and no sha256: pass the path of their folder to `gcnlab.load`.

Some sets lie here as conversions, which no address serves. What is published of them goes, by `gcnlab data fetch` or by hand,
into `<name>/published/`. We never saw its bytes, so no sha256 is stated. Instead gcnlab compares what it reads: the counts,
and a digest of edges, features and labels (`content_sha256` in the manifest). For a collection the digest describes each graph
by its colours after four rounds of colour refinement, so the order of graphs and nodes does not matter. Another order of the
graphs is a warning, since published fold lists count graphs.

The Open Graph Benchmark publishes no sha256: of its sets the counts are compared instead. Unpack its zip archive, and put
the folders `raw` and `split` that are in it into `<name>/`.

`<name>/folds/{train,test}_idx-K.txt`, K from 1 to 10, are the fold lists of a graph collection (graph numbers from 0, one
a line), which `gcnlab.data.folds(name)` reads.

`folds-errica/<SET>.json` are the outer and inner folds of Errica et al. (2020), which `gcnlab.data.nested_folds(name)` compares
with their sha256, and downloads where they are missing. They are lists of graph numbers; their repository,
<https://github.com/diningphil/gnn-comparison>, is under the GPL-3.0, and gcnlab does not ship them.

Three counts at the end are the train/validation/test nodes or graphs of the public split. An edge is an undirected pair of two nodes; a
stored edge of a graph collection is one of its two directions, or a self-loop.

| name | what | counts | licence | source | files |
|---|---|---|---|---|---|
"""


def readme_table() -> str:
    """The text of `datasets/README.md`, made from the manifest: what a data root is, and a row for each data set."""
    rows = [
        f"| `{name}` | {entry['title']}: {entry['description']} | {_count_text(entry['counts'])} | {entry['licence']} "
        f"| <{entry['source']}> | {_file_text(entry)} |"
        for name, entry in catalog().items()
    ]
    return "\n".join([*_README.splitlines(), *rows]) + "\n"


def _count_text(counts: dict[str, int]) -> str:
    split = "; " + "/".join(f"{counts[part]:,}" for part in ("train", "val", "test")) if "val" in counts else ""
    if "height" in counts:
        images = f"{counts['train']:,} training and {counts['test']:,} test images"
        return f"{images} of {counts['height']} x {counts['width']}, {counts['classes']} classes"
    if "listed_edges" in counts:
        rows = f"{counts['graphs']:,} graphs" if "graphs" in counts else f"{counts['nodes']:,} nodes"
        listed = f"{counts['listed_edges']:,} listed edges"
        return f"{rows}, {listed}, {counts['features']} features, {counts['classes']} classes{split}"
    if "graphs" in counts:
        parts = [f"{counts['graphs']:,} graphs, {counts['nodes']:,} nodes, {counts['entries']:,} stored edges"]
        parts += [f"{counts['self_loops']:,} of them self-loops"] if counts["self_loops"] else []
        parts += [f"{counts['duplicates']:,} more that are listed twice"] if counts["duplicates"] else []
        parts += [f"{counts['node_labels']} node labels"] if counts["node_labels"] else []
        parts += [f"{counts['node_attributes']} node attribute(s)"] if counts["node_attributes"] else []
        return ", ".join([*parts, f"{counts['classes']} classes"])
    loops = f" and {counts['self_loops']} self-loops" if counts["self_loops"] else ""
    given = f", {counts['splits']} given splits" if "splits" in counts else ""
    return (
        f"{counts['nodes']:,} nodes, {counts['edges']:,} undirected edges{loops}, {counts['features']:,} features, "
        f"{counts['classes']} classes{split}{given}"
    )


def _file_text(entry: dict[str, Any]) -> str:
    if entry["embedded"]:
        return f"none: it comes with {'gcnlab' if entry['format'] == 'embedded' else entry['format']}"
    home = f"{entry['home']}/raw/" if "home" in entry else ""
    names = ", ".join(f"`{home}{file['name']}`" for file in entry["files"])
    for split, file in entry.get("split_files", {}).items():
        names += f', and for `split="{split}"` `{file["name"]}`'
    origins = dict.fromkeys(file["origin"] for file in entry["files"] if not file["url"])
    by_hand = f"; {', '.join(origins)}" if "published" in entry else ""
    by_hand = by_hand or (f"; to be put there by hand: {', '.join(origins)}" if origins else "")
    for file in entry.get("published", {}).get("files", ()):
        by_hand += f"; or `published/{file['name']}` from <{file['url']}>"
    if not entry["max_bytes"]:  # OGB's, which publishes neither sizes nor sha256
        return f"{names} ({by_hand.removeprefix('; ')})"
    size = f"{entry['max_bytes'] / 1e6:.1f} MB" if entry["max_bytes"] >= 1e5 else f"{entry['max_bytes'] / 1e3:.1f} kB"
    return f"{names} ({size}{by_hand})"
