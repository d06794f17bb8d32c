"""What MkDocs needs to know of this project: formulas, links that leave docs/, and the form of the docstrings."""

import html
import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

import griffe
from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<=\]\()[^)#:\s]+(?=[)#])")


def on_config(config):
    version = re.search(r'__version__ = "(.+)"', (ROOT / "gcnlab/__init__.py").read_text(encoding="utf-8"))[1]
    config.site_name = f"gcnlab {version}"
    return config


def formula(source, *_, **__):
    """A fenced block of LaTeX as MathML, which browsers draw without a script; forges draw the same block."""
    return convert(source, display="block")


# -- links: a file of the repository that a page links to is a page of the site, under repository/ -------------------


def on_files(files, config):
    todo = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    for path in todo:  # which grows
        if path.endswith(".md"):
            links = LINK.findall((ROOT / path).read_text(encoding="utf-8"))
            todo += dict.fromkeys(target for link in links if (target := _target(path, link)) and target not in todo)
        if not path.startswith("docs/"):
            files.append(File.generated(config, _uri(path), content=_content(ROOT / path)))
    return files


def on_page_markdown(markdown, page, **_):
    uri = page.file.src_uri
    path = page.meta.get("path", f"docs/{uri}")

    def to_site(match):
        target = _target(path, match[0])
        return relpath(_uri(target), dirname(uri) or ".") if target else match[0]

    return LINK.sub(to_site, markdown)


def _target(path, link):
    """The path in the repository that a link on the page `path` leads to, or None."""
    target = normpath(f"{dirname(path)}/{link}".lstrip("/"))
    return target if (ROOT / target).exists() else None


def _uri(path):
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def _content(file):
    path = file.relative_to(ROOT).as_posix()
    head = f"---\npath: {path}\n---\n"
    if file.is_dir():
        return f"{head}# {path}\n\n" + "".join(f"- `{entry.name}`\n" for entry in sorted(file.iterdir()))
    text = file.read_text(encoding="utf-8")
    return head + (text if path.endswith(".md") else f"# {path}\n\n~~~~ {file.suffix[1:]}\n{text}~~~~\n")


def on_post_page(output, page, **_):
    """The offline search loads its worker from elsewhere; take the copy that lies beside the pages."""
    return output.replace("https://unpkg.com/iframe-worker/shim", relpath("iframe-worker.js", dirname(page.url) or "."))


# -- papers: a citation, on a page or in a docstring, leads to its line in references.md ------------------------------


def _anchor(citation):
    return re.sub(r"\W+", "-", citation.lower())


PAPERS = re.findall(r"^- \*\*(.+?)\*\*", (ROOT / "docs/references.md").read_text(encoding="utf-8"), re.MULTILINE)
CITED = re.compile("|".join(re.escape(html.escape(paper, quote=False)) for paper in PAPERS))
OUTSIDE = re.compile(r"(<(a|pre|code|h1|h2|h3|math)\b.*?</\2>|<[^>]+>)", re.DOTALL)  # tags, and what has no links in it


def on_page_content(content, page, **_):
    if page.file.src_uri == "references.md":
        return re.sub(
            r"<li><strong>(.+?)</strong>", lambda m: f'<li id="{_anchor(html.unescape(m[1]))}">{m[1]}:', content
        )
    to = relpath("references.html", dirname(page.url) or ".")
    parts = OUTSIDE.split(content)  # text, what is outside, the name of its tag, text, ...
    for i in range(0, len(parts), 3):
        parts[i] = CITED.sub(lambda m: f'<a href="{to}#{_anchor(html.unescape(m[0]))}">{m[0]}</a>', parts[i])
    return "".join(part for i, part in enumerate(parts) if i % 3 < 2)


# -- docstrings -----------------------------------------------------------------------------------------------------


class Docstrings(griffe.Extension):
    """The form of this project's docstrings in griffe's terms: its section Shapes, and doctests without a heading."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            text = obj.docstring.value.replace("Shapes:\n", "Other Args: Shapes\n")
            obj.docstring.value = re.sub(r"(?m)(?:^ *(?:>>>|\.\.\.).*\n?(?:^ *(?!>>>)\S.*\n?)*)+", _fence, text)


def _fence(match):
    return f"```pycon\n{match[0].rstrip()}\n```\n"
