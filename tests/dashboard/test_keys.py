"""Every figure that is made has its places on the page, which the template and the script fill; and back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes
from scene import NOW, backend, batch, night, overview, report, told

from batchline.model import Counts
from batchline.states import BatchStatus
from dashboard import keys
from dashboard.history import History
from dashboard.page import show
from dashboard.routes import PARTS

DASHBOARD = Path(keys.__file__).parent
MODULES = sorted(DASHBOARD.glob("*.py"))
MAKERS = [
    DASHBOARD / f"{name}.py"
    for name in ("backends_panel", "batch_rows", "deliveries_panel", "keys", "notices", "page")
]
TEMPLATES = DASHBOARD / "templates"
SCRIPT = (DASHBOARD / "static/overview.js").read_text()
TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|[A-Za-z_$][\w$]*|===|\S", re.DOTALL
)
PLACE = re.compile(r'data-([kta])="([^"]*)"')
ANY = "*"
"""Stands for what is known only when a page is made: a batch's number, a backend's place."""
FILLING = {"add", "append", "clear", "extend", "insert", "pop", "setdefault", "update"}


def scenes():
    """States of the service that make every kind of figure."""
    moving = batch(1, counts=Counts(1000, 500))
    flying = report(in_flight={moving.id: 10}, backends=(backend(0), backend(1, alive=False)))
    ended = batch(2, status=BatchStatus.COMPLETED, completed_at=NOW)
    return [
        overview(),
        overview(report=None),
        overview(open_batches=(moving,), report=flying),
        overview(finished=(ended,)),
        overview(outbox=told()),
        night(),
    ]


def made():
    """Every key that the code makes, its numbers left out."""
    figures = [show(seen, History(), now=NOW, free_bytes=0).figures for seen in scenes()]
    return {re.sub(r"\d+", ANY, key) for each in figures for key in each}


def functions(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def written():
    """The keys, or ends of keys, that stand in the dictionaries of the code."""
    inner = [node for path in MAKERS for function in functions(path) for node in ast.walk(function)]
    written_out = [key for node in inner if isinstance(node, ast.Dict) for key in node.keys]
    in_loops = [node.key for node in inner if isinstance(node, ast.DictComp)]
    return {text for key in written_out + in_loops if (text := python_text(key)).strip(f"{ANY}.")}


def python_text(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(python_text(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ANY


class Reading:
    """What a template reads of the figures, from its syntax tree. Both branches of a condition count."""

    def __init__(self, macros):
        self._macros = macros
        self.read = set()

    def text(self, node, names):
        """Return what a node writes, `*` where that is not known, and note which figures it reads."""
        written = ANY
        match node:
            case nodes.TemplateData(data=known) | nodes.Const(value=known):
                written = str(known)
            case nodes.Name(name=name):
                written = names.get(name, ANY)
            case nodes.Getitem(node=nodes.Name(name="f"), arg=key):
                self.read.add(self.text(key, names))
            case nodes.Assign(target=nodes.Name(name=name), node=value):
                names[name], written = self.text(value, names), ""
            case nodes.Call(node=nodes.Getattr(attr=name)) if name in self._macros:
                written = self._called(self._macros[name], node, names)
            case nodes.Expr() if not isinstance(node, nodes.Concat):
                self._joined(node.iter_child_nodes(), names)
            case _:
                written = self._joined(node.iter_child_nodes(), names)
        return written

    def _joined(self, several, names):
        return "".join([self.text(node, names) for node in several])

    def _called(self, macro, call, names):
        given = [self.text(argument, names) for argument in call.args]
        lacking = len(macro.args) - len(given)
        given += [self.text(value, names) for value in macro.defaults[::-1][:lacking][::-1]]
        inner = {argument.name: text for argument, text in zip(macro.args, given, strict=True)}
        return self._joined(macro.body, inner)


@pytest.fixture(scope="module")
def page():
    """What the templates of the page read, and (kind, key) of the places that they write for the script."""
    environment = jinja2.Environment(autoescape=True)
    macros = environment.parse((TEMPLATES / "macros.html").read_text()).find_all(nodes.Macro)
    reading = Reading({macro.name: macro for macro in macros})
    places = set()
    for path in (TEMPLATES / "overview.html", *sorted(TEMPLATES.glob("parts/*.html"))):
        text = reading.text(environment.parse(path.read_text()), {})
        places |= {(kind, key) for kind, found in PLACE.findall(text) for key in found.split(" ")}
    return reading.read, places


def script_keys():
    """The keys with which the script does something of its own: `key === 'title'`."""
    tokens = [token for token in TOKEN.findall(SCRIPT) if not token.startswith(("//", "/*"))]
    return {
        c.strip("'")
        for a, b, c in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if (a, b) == ("key", "===")
    }


def script_attributes():
    """The attributes that the script may set."""
    tokens = TOKEN.findall(SCRIPT)
    start = tokens.index("ATTRIBUTES")
    return {t.strip("'") for t in tokens[start : tokens.index("]", start)] if t.startswith("'")}


def test_the_first_page_shows_every_figure_that_is_made(page):
    """And no template asks for one that nothing makes."""
    read, _ = page

    assert read == made()


def test_the_script_keeps_every_figure_up_to_date(page):
    """Each has a place that it patches, or a line of its own; it looks for none that nothing makes."""
    _, places = page
    patched = {key.partition(":")[2] if kind == "a" else key for kind, key in places}

    assert patched | script_keys() == made()


def test_the_script_patches_each_kind_of_place(page):
    """Texts, times and attributes; and it sets those attributes that have places, no others."""
    _, places = page
    looked_for = set(re.findall(r"\[data-([kta])\b", " ".join(TOKEN.findall(SCRIPT))))

    assert looked_for == {kind for kind, _ in places}
    assert script_attributes() == {key.partition(":")[0] for kind, key in places if kind == "a"}


def test_every_key_in_the_code_is_made_here():
    """A figure of a state that no scene shows would be held against nothing."""
    ends = made() | set(PARTS)

    assert [
        key for key in written() if not any(f".{end}".endswith(f".{key}") for end in ends)
    ] == []


def test_every_part_that_is_made_has_its_template():
    """And can be asked for by its name."""
    parts = set(show(overview(), History(), now=NOW).parts)

    assert parts == set(PARTS) == {path.stem for path in TEMPLATES.glob("parts/*.html")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_function_fills_what_it_was_handed(path):
    """It returns what it made; who called it puts that together."""
    assert [(f.name, name) for f in functions(path) for name in filled(f) & handed(f)] == []


def handed(function):
    return {a.arg for a in (*function.args.args, *function.args.kwonlyargs)}


def filled(function):
    """The names of what a function puts something into, or takes something out of."""
    changed = [
        node.value
        for node in ast.walk(function)
        if (isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.Attribute) and node.attr in FILLING)
    ]
    return {node.id for node in changed if isinstance(node, ast.Name)}
