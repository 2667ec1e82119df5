"""The API reference as a page: whole without JavaScript, told by the document alone."""

from __future__ import annotations

import re
from html import unescape

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from chromium import PROGRAM, open_page
from scene import Disk

from batchline.settings import Settings
from dashboard.api_reference.descriptions import inline, paragraphs
from dashboard.api_reference.reference import reference
from dashboard.app import add_dashboard
from gateway.openapi import Document

VIEWS = {
    "docs-light": {"width": 1280},
    "docs-dark-phone": {"width": 390, "is_dark": True},
}


@pytest.fixture(scope="module")
def document():
    return Document(Settings()).tree


@pytest.fixture
async def docs(document, stage, metrics, clock):
    app = web.Application()
    add_dashboard(
        app, view=stage, metrics=metrics, blobs=Disk(), clock=clock, document=lambda: document
    )
    async with TestClient(TestServer(app)) as client:
        yield client


def text_of(html):
    """What a reader sees, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html.replace("<wbr>", ""))).split())


@pytest.mark.spec("beyond-openapi-docs")
async def test_the_page_tells_every_operation_with_its_fields_errors_and_samples(docs, document):
    """Nothing in the document is left out of the page."""
    html = await (await docs.get("/docs")).text()
    text = text_of(html)

    for path, item in document["paths"].items():
        assert path in text
        for operation in (item[m] for m in ("get", "post", "delete") if m in item):
            assert f'id="{operation["operationId"]}"' in html
            assert operation["summary"] in text
            for parameter in operation.get("parameters", ()):
                assert parameter.get("name", "") in text
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    for case in content.get("examples", {}).values():
                        assert case["value"]["error"]["message"] in text
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}):
            assert field in text


async def test_every_link_on_the_page_leads_somewhere(docs):
    """Each fragment has its anchor, and no anchor is there twice."""
    html = await (await docs.get("/docs")).text()

    anchors = re.findall(r'\bid="([^"]+)"', html)
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(anchors)
    assert len(anchors) == len(set(anchors))
    for path in set(re.findall(r'href="(/[^"#]*)"', html)) - {"/openapi.json"}:
        assert (await docs.get(path)).status == 200, path


@pytest.mark.spec("beyond-openapi-docs")
async def test_the_page_needs_nothing_from_elsewhere(docs):
    """A strict policy, no inline style or script, no address of another host."""
    answer = await docs.get("/docs")
    html = await answer.text()

    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert " style=" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"(src|href)=\"(https?:)?//", html)


async def test_samples_name_the_server_as_the_reader_reached_it(docs):
    """Copy and run; a host that is no host is not repeated."""
    good = await (await docs.get("/docs", headers={"Host": "gpu-box:5000"})).text()
    bad = await (await docs.get("/docs", headers={"Host": "x<script>"})).text()

    assert "curl http://gpu-box:5000/v1/files" in good
    assert "curl http://localhost:5000/v1/files" in bad
    assert "x<script>" not in bad


async def test_the_page_can_be_found(docs):
    """From the navigation and the foot of every page."""
    html = await (await docs.get("/")).text()

    assert html.count('href="/docs"') == 2


def test_an_error_of_many_operations_is_told_once(document):
    """The shared ones stand in a section of their own and at no operation."""
    shown = reference(document)

    statuses = {problem.status for problem in shown.problems}
    assert {"401", "500", "503"} <= statuses
    for group in shown.groups:
        for operation in group.operations:
            assert not set(operation.problems) & set(shown.problems)


def test_descriptions_are_text_with_code_bold_and_links_within_the_server():
    """Anything else, markup and foreign links included, stays plain text."""
    assert inline("`a<b` **c** [d](#e) <i>") == (
        '<code>a&lt;b</code> <b>c</b> <a href="#e">d</a> &lt;i&gt;'
    )
    assert inline("[d](javascript:x) [e](http://x)") == "[d](javascript:x) [e](http://x)"
    assert paragraphs("a\nb\n\nc") == "<p>a b</p><p>c</p>"


@pytest.mark.browser
@pytest.mark.skipif(PROGRAM is None, reason="needs chromium (make test installs it)")
async def test_the_page_fits_wide_and_narrow_in_both_themes(docs, tmp_path):
    """No sideways scrolling, nothing refused by the policy, and the contents fold on a phone."""
    async with open_page() as page:
        for name, look in VIEWS.items():
            await page.look(**look)
            await page.go(str(docs.make_url("/docs")))
            await page.picture(tmp_path / f"{name}.png")

            is_phone = look["width"] < 861
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            folded = "getComputedStyle(document.querySelector('.contents')).display === 'none'"
            assert await page.evaluate(folded) == is_phone
        assert page.problems == []
