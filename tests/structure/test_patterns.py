"""No regular expression that may see a stranger's bytes takes more than linear time. The test finds them by itself.

Each needs a sample here, a text that it is meant for. Hostile texts are made of the sample: at every place in it
something is repeated until that is as large as a header may be. What grows faster than its text fails.
"""

from __future__ import annotations

import ast
import gc
import importlib
import pkgutil
import re
import time
from itertools import count, product
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp._cookie_helpers import parse_cookie_header
from yarl import URL

import gateway.app
from batchline.api.parameters import integer_text
from batchline.errors import BatchlineError
from batchline.jsonl.compression import coding_of
from dispatcher.replies.error_texts import ErrorText, names_model
from gateway.forms import clean_filename
from gateway.forms.content_disposition import read_disposition, read_header
from gateway.idempotency.by_key import read_key
from gateway.transfer.ranges import wanted_span

ROOT = Path(__file__).parents[2]
OURS = ("batchline", "dashboard", "deliver", "dispatcher", "gateway")
LIBRARIES = ("aiohttp", "aiohttp_jinja2", "aiohttp_sse", "idna", "multidict", "yarl")
OUTWARD = ("client", "connector", "cookiejar", "worker", "web_log", "resolver")
"""Modules of aiohttp that speak to our own servers, or write what we do not let them write."""
USES = ("findall", "finditer", "fullmatch", "match", "search", "split", "sub")

SIZES = (
    16,
    32,
    128,
    1024,
    8192,
)  # aiohttp refuses a header, or a request's first line, beyond 8,190
GROWTH = 3  # times as fast as its text, at most
NOISE_S = 0.001
TRIED = (
    None,
    None,
    None,
    20,
    5,
)  # of the slowest texts of the size before, those tried at the next

SAMPLES = {
    "batchline.api.completion_window._WINDOW": "24h",
    "batchline.cli.api.batch._ID": "batch_0-a",
    "batchline.cli.api.client._CONTENT_RANGE": "bytes 0-5/10",
    "batchline.cli.api.client._IDENTITY": "batch_0-a",
    "batchline.cli.api.resolve._FULL_ID": "batch_0123456789abcdef0123456789abcdef",
    "batchline.jsonl.encodings._GLUED": "{} \xef\xbb\xbf {}",
    "batchline.handlers.sections._NAME": "label-studio.2",
    "batchline.handlers.sections._VARIABLE": "a ${NAME:-b} c",
    "batchline.process.failpoints._SPEC": "a.b=torn:0.5@1",
    "batchline.jsonl.file_kinds._COLUMN": ' "custom_id" ',
    "batchline.outbound.addresses._AUTHORITY": "hooks.example-1.org:8443",
    "batchline.fleet.gpus._GPU_LINE": "GPU 0: NVIDIA H200 (UUID: GPU-a-b)",
    "batchline.fleet.gpus._MIG_LINE": "  MIG 1g.18gb Device 0: (UUID: MIG-a-b)",
    "batchline.fleet.gpus._OLD_MIG": "MIG-GPU-a-b/1/2",
    "batchline.fleet.nginx._PLAIN": "/a/b.c",
    "batchline.jsonl.upstream_answers._CONTROL": "a\x00b",
    "batchline.jsonl.surrogates._ESCAPE": "a\\ud83d\\ude00\\ud800\\n",
    "batchline.jsonl.upstream_answers._STRAY": '{"a\\n": -Infinity, "b": NaN}',
    "batchline.serving.listening._NAME": "gpu-box.example.org",
    "batchline.serving.listening._NUMBERS": "1.2.3",
    "batchline.config.types._FIELD": "chat_template",
    "batchline.serving.origins._NAME": "gpu-box.example.org",
    "batchline.serving.origins._ORIGIN": "https://app.example.org:8443",
    "batchline.api.parameters._WHOLE_NUMBER": "-12",
    "batchline.outbound.addresses._UNUSUAL": "https://a/b c",
    "batchline.config.server_url._HOST": "[::1]:80",
    "batchline.config.server_url._PATH": "/team/llm/v1",
    "batchline.config.server_url._QUERY": "http://a/b?c=d#e",
    "batchline.config.server_url._SCHEME": "['http://a",
    "deliver.builtin.postgres_rows._ESCAPE": "a\\u0000\\\\u0000\\n",
    "dashboard.routes._HOST": "a.b-c:80",
    "dashboard.api_reference.descriptions._BLANK_LINES": "a\n \nb",
    "dashboard.api_reference.descriptions._SPAN": "a `b` **c** [d](/e)",
    "dashboard.api_reference.reference._NO_SLUG": "a b",
    "deliver.builtin.label_studio.client._MISSING_KEY": '0: "text" key is expected in task data',
    "deliver.builtin.label_studio.project._VARIABLE": '<Text name="a" value="$text"/>',
    "dispatcher.probing.gauges._WANTED": " vllm:num_requests_running{a}",
    "dispatcher.replies.kinds_of_failure._NUMBER": "a 1.5,7",
    "dispatcher.replies.kinds_of_failure._QUOTED": "a 'b' \"c\" `d`",
    "dispatcher.replies.kinds_of_failure._SPACE": "a \n b",
    "dispatcher.replies.wording._TAG": "<a>b</a>",
    "gateway.transfer.ranges._RANGE": " bytes = 0 - 5 ",
    "gateway.routes.content._UNPRINTABLE": "aéb",
    "gateway.dialects.anthropic.message_requests._CUSTOM_ID": "a-b_1",
    "gateway.forms.content_disposition._ESCAPED": 'a\\"b\\\\',
    "gateway.forms.content_disposition._PARAMETER": 'form-data; name="a"; filename = "b\\"c"; x=y',
    "gateway.forms.parts._CONTROL": "a\x00b",
    "gateway.forms.parts._NAME": "Content-Type",
    "gateway.forms.filenames._CONTROL": "a\x00b",
    "gateway.forms.filenames._FOLDER": "a/b\\c",
    "gateway.new_batches.request_array._DEEP_MARKS": ' "a": 1',
    "gateway.new_batches.request_array._MARKS": ' 1.5 , "a"',
    "gateway.new_batches.request_array._STRING": 'a \\" b"',
    "gateway.idempotency.by_key._VISIBLE": "a-1",
    "gateway.idempotency.by_retry._COUNT": "12",
    # The libraries' that requests meet, or may one day.
    "aiohttp._cookie_helpers._ATTRIBUTE_START_RE": "; a",
    "aiohttp._cookie_helpers._COOKIE_NAME_RE": "a-b",
    "aiohttp._cookie_helpers._COOKIE_PATTERN": 'a="b\\"c"; d=e; Expires=Wed, 01 Jan 2026 00:00:00 GMT',
    "aiohttp._websocket.helpers._WS_EXT_RE": "; server_max_window_bits=10; client_no_context_takeover",
    "aiohttp._websocket.helpers._WS_EXT_RE_SPLIT": "permessage-deflate; a, permessage-deflate",
    "aiohttp.helpers.LIST_QUOTED_ETAG_RE": 'W/"a" , "b"',
    "aiohttp.helpers.QUOTED_ETAG_RE": 'W/"a"',
    "aiohttp.helpers._ETAGC_RE": "a",
    "aiohttp.helpers.not_qtext_re": 'a"b',
    "aiohttp.http_parser.DIGITS": "12",
    "aiohttp.http_parser.HEXDIGITS": "1f",
    "aiohttp.http_parser.TOKENRE": "GET",
    "aiohttp.http_parser.VERSRE": "HTTP/1.1",
    "aiohttp.multipart.MultipartWriter._invalid_qdtext_char_regex": "a\x00",
    "aiohttp.multipart.MultipartWriter._valid_tchar_regex": "a-b",
    "aiohttp.web_request._FORWARDED_PAIR_RE": 'for="[::1]:80\\"";by=a',
    "aiohttp.web_request._QUOTED_PAIR_REPLACE_RE": 'a\\"b',
    "aiohttp.web_urldispatcher.DynamicResource.DYN": "{a}",
    "aiohttp.web_urldispatcher.HTTP_METHOD_RE": "GET",
    "aiohttp_sse.EventSourceResponse.LINE_SEP_EXPR": "a\r\nb\rc",
    "idna.cli._unicode_dots_re": "a.b",
    "idna.core._std3_disallowed_re": "a_b",
    "yarl._quoting_py._IS_HEX": "1f",
    "yarl._url.NOT_REG_NAME": "a%41[",
    "yarl._url._DEFAULT_IGNORABLE_RE": "a\u00adb",
}
MATCHED = {"aiohttp._cookie_helpers._COOKIE_PATTERN", "aiohttp.web_request._FORWARDED_PAIR_RE"}
"""Those of the libraries that are used with `match` alone, which tries one place."""
OURS_ALONE = {
    "aiohttp.web_urldispatcher.DynamicResource.DYN_WITH_RE": "our own routes",
    "aiohttp.web_urldispatcher.Domain.re_part": "names of hosts in our own routes",
    "aiohttp.web_urldispatcher.MaskDomain.re_part": "names of hosts in our own routes",
    "aiohttp.web_urldispatcher.ROUTE_RE": "our own routes",
    "aiohttp.web_urldispatcher.UrlDispatcher.NAME_SPLIT_RE": "names of our own routes",
}
BOUNDED = {("dispatcher/replies/error_texts.py", "search")}
"""Patterns made at run time: this one of a model's name, over the first 4,096 characters of a refusal."""


def modules(package):
    """Import all modules of a package that can be."""
    top = importlib.import_module(package)
    yield top
    for found in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{package}."):
        if found.name.endswith("__main__"):
            continue
        if package == "aiohttp" and found.name.removeprefix("aiohttp.").startswith(OUTWARD):
            continue
        try:
            yield importlib.import_module(found.name)
        except ImportError:
            assert package in LIBRARIES  # an optional part of it


def patterns():
    """Find every compiled pattern, those in classes too; of a library's that is imported, the first."""
    found, seen = {}, set()
    for module in (module for package in OURS + LIBRARIES for module in modules(package)):
        is_ours = module.__name__.startswith(OURS)
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__:
                members = {f"{name}.{n}": v for n, v in vars(value).items()}
            else:
                members = {name: value}
            for path, member in members.items():
                if not isinstance(member, re.Pattern):
                    continue
                text = (member.pattern, member.flags)  # re may compile equal ones twice
                if is_ours or text not in seen:
                    found[f"{module.__name__}.{path}"] = member
                    seen.add(text)
    return found


PATTERNS = patterns()
ROUTES = {route.path: route.path for route in gateway.app._routes() if "{" in route.path} | {
    "/ui/part/{name}": "",
    "/static/{name}": "",
}


def tree(path):
    return ast.parse(path.read_text("utf-8"))


def uses(name):
    """Tell by which methods a pattern of ours is used; a library's by all."""
    if name in MATCHED:
        return {"match"}
    module, _, constant = name.rpartition(".")
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.exists():
        return USES
    calls = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute))
    found = {c.attr for c in calls if isinstance(c.value, ast.Name) and c.value.id == constant}
    return found & {*USES} or USES


def test_every_pattern_has_a_sample():
    """A new one is driven with hostile input, or the test below does not know of it."""
    assert sorted(PATTERNS) == sorted(SAMPLES | OURS_ALONE)


def test_patterns_of_ours_are_compiled_where_they_can_be_found():
    """None is written where it is used: `re.search("…", text)` is seen by no test."""
    seen = set()
    for path in (path for package in OURS for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "re":
                seen.add((path.relative_to(ROOT).as_posix(), node.attr))
    loose = {(path, name) for path, name in seen if name in USES}

    assert loose == BOUNDED


def driven(pattern, names):
    """Make the function that has a pattern look at a text in each of the ways named."""
    ways = [getattr(pattern, name) for name in names if name not in {"sub", "finditer"}]
    if {"sub", "finditer"} & set(names):
        ways.append(lambda text: sum(1 for _ in pattern.finditer(text)))
    return lambda text: [way(text) for way in ways]


def hostile(sample):
    """Say what is repeated where: before it, it, after it."""
    signs = sorted({*sample, *" \t\\\"';:,=a0%/-\x00é"})
    pairs = ["".join(pair) for pair in product(' \\";=a[', repeat=2)]
    for at in range(len(sample) + 1):
        for repeated in [*signs, *pairs, sample[at : at + 3] or sample]:
            yield sample[:at], repeated, sample[at:]
            yield sample[:at], repeated, "\x00"


def text_of(before, repeated, after, *, size, kind):
    text = before + repeated * (size // len(repeated)) + after
    return text if kind is str else text.encode("latin-1", "replace")


def spent_s(look, text):
    """Return the processor's seconds, of three tries the fewest.

    Without the collector of cycles, which looks through all that the tests before have left.
    """
    tries = []
    gc.disable()
    try:
        for _ in range(3):
            began = time.thread_time()
            look(text)
            tries.append(time.thread_time() - began)
            if tries[-1] > 0.5:
                break
    finally:
        gc.enable()
    return min(tries)


def check_growth(look, sample, kind=str):
    """Drive with ever larger texts. Return the seconds of the slowest of the largest size."""
    slowest = [(0.0, made) for made in hostile(sample)]
    smaller = None
    for size, tried in zip(SIZES, TRIED, strict=True):
        slowest = sorted(slowest, key=lambda pair: -pair[0])[:tried]
        found = []
        for before_s, made in slowest:
            took_s = spent_s(look, text_of(*made, size=size, kind=kind))
            allowed_s = NOISE_S + GROWTH * before_s * size / (smaller or size)
            assert smaller is None or took_s < allowed_s, (
                f"{made} for {size} characters: {took_s:.4f} s, for {smaller}: {before_s:.6f} s"
            )
            found.append((took_s, made))
        slowest, smaller = found, size
    return max(slowest)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_pattern_takes_more_than_linear_time(name):
    """Eight times as long a text takes eight times as long, and a little."""
    pattern = PATTERNS[name]
    kind = type(pattern.pattern)

    slowest = check_growth(driven(pattern, uses(name)), SAMPLES[name], kind)

    print(f"{slowest[0] * 1000:.3f} ms {name}: {slowest[1]}")


@pytest.mark.parametrize("path", ROUTES)
def test_no_route_takes_more_than_linear_time(path):
    """Neither do the patterns that aiohttp makes of our routes."""
    resource = web.UrlDispatcher().add_resource(path)
    sample = re.sub(r"\{\w+(:.*?)?\}", "x-1", path)

    assert resource.get_info()["pattern"].fullmatch(sample)
    check_growth(resource.get_info()["pattern"].fullmatch, sample)


def outcome_of(read):
    """Make a reader answer what it would raise."""

    def answer(text):
        try:
            return read(text)
        except (BatchlineError, ValueError, web.HTTPException) as exc:
            return exc

    return answer


def fresh(text):
    """Read a URL that no cache knows."""
    return URL(f"{text}#{next(COUNT)}", encoded=True)


COUNT = count()
MODEL = b'{"model": "%s"}' % (b"a" * 4096)
READERS = {
    "aiohttp's cookies": (
        parse_cookie_header,
        'a="b\\"c"; d=e; Expires=Wed, 01 Jan 2026 00:00:00 GMT',
    ),
    "Content-Disposition": (read_disposition, "form-data; name=\"a\"; filename*=utf-8''b%20c"),
    "Content-Encoding": (outcome_of(coding_of), " gzip, zstd"),
    "Content-Type": (read_header, 'multipart/form-data; boundary="a"; charset=b'),
    "Host and path": (outcome_of(lambda text: fresh(f"http://{text}").host), "a.b:80/c?d=e"),
    "Idempotency-Key": (outcome_of(lambda text: read_key([text])), "a-1"),
    "Range": (outcome_of(lambda text: wanted_span(text, 10)), "bytes=0-5"),
    "a filename": (clean_filename, "a/b\\c.gz"),
    "a number": (outcome_of(lambda text: integer_text(text, param="n", lowest=0, highest=9)), "12"),
    "a query": (lambda text: fresh(f"/?{text}").query, "limit=1&after=a%20b+c"),
    "a server's 404": (
        lambda text: names_model(404, ErrorText(text), MODEL),
        "model 'a' not found",
    ),
}


@pytest.mark.parametrize(("read", "sample"), READERS.values(), ids=READERS)
def test_what_reads_a_header_takes_no_more_than_linear_time(read, sample):
    """As a whole: a linear pattern in a loop may be none."""
    slowest = check_growth(read, sample)

    print(f"{slowest[0] * 1000:.3f} ms: {slowest[1]}")
