"""Settings: one precedence, every bad value listed, nothing unknown accepted."""

from __future__ import annotations

import pytest

from batchline.errors import Invalid
from batchline.settings import load_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No variable and no .env of the machine takes part."""
    import os

    for name in [n for n in os.environ if n.startswith("BATCHLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_arguments_win_over_environment_over_dotenv_over_yaml(monkeypatch, tmp_path):
    """Each source gives way to the one before it."""
    (tmp_path / "c.yaml").write_text("port: 1\ndispatcher_port: 1\nmax_attempts: 1\nmax_lines: 1\n")
    (tmp_path / ".env").write_text(
        "BATCHLINE_PORT=2\nBATCHLINE_DISPATCHER_PORT=2\nBATCHLINE_MAX_ATTEMPTS=2\n"
    )
    monkeypatch.setenv("BATCHLINE_CONFIG", str(tmp_path / "c.yaml"))
    monkeypatch.setenv("BATCHLINE_PORT", "3")
    monkeypatch.setenv("BATCHLINE_DISPATCHER_PORT", "3")

    found = load_settings(port=4)

    assert (found.port, found.dispatcher_port, found.max_attempts, found.max_lines) == (4, 3, 2, 1)


def test_all_bad_values_are_listed_at_once(monkeypatch):
    """One start tells every mistake, by variable."""
    monkeypatch.setenv("BATCHLINE_PORT", "x")
    monkeypatch.setenv("BATCHLINE_MAX_ATTEMPTS", "0")
    monkeypatch.setenv("BATCHLINE_TYPO", "1")

    with pytest.raises(Invalid) as caught:
        load_settings()

    text = str(caught.value)
    assert all(n in text for n in ("BATCHLINE_PORT", "BATCHLINE_MAX_ATTEMPTS", "BATCHLINE_TYPO"))


@pytest.mark.parametrize("content", ["nope: 1", "[1, 2]", "a: [", None])
def test_a_bad_yaml_file_is_named(monkeypatch, tmp_path, content):
    """Unknown keys, a wrong shape, no YAML, no file."""
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("BATCHLINE_CONFIG", str(path))

    with pytest.raises(Invalid, match=r"c\.yaml"):
        load_settings()


def test_backend_urls_are_comma_separated(monkeypatch):
    """Spaces and a trailing comma are forgiven."""
    monkeypatch.setenv("BATCHLINE_BACKEND_URLS", "http://a, http://b ,")

    assert load_settings().backend_urls == ("http://a", "http://b")


URLS = {
    "no scheme": ("127.0.0.1:8000", "has no scheme; write http://127.0.0.1:8000"),
    "only a name": ("vllm", "has no scheme; write http://vllm"),
    "another scheme": ("ftp://vllm:8000", "has the scheme 'ftp', but"),
    "no host": ("http://", "names no host that can be reached; write it like http://"),
}


@pytest.mark.parametrize(("url", "why"), URLS.values(), ids=URLS)
@pytest.mark.parametrize("name", ["UPSTREAM_URL", "BACKEND_URLS"])
def test_an_address_that_cannot_be_reached_stops_the_start(monkeypatch, name, url, why):
    """Setting, value and remedy are named."""
    monkeypatch.setenv(f"BATCHLINE_{name}", f"http://good:1,{url}" if name[0] == "B" else url)

    with pytest.raises(Invalid) as caught:
        load_settings()

    text = str(caught.value)
    assert f"  BATCHLINE_{name}: " in text
    assert why in text
    assert text.endswith(f"(got {url!r})")


def test_an_empty_upstream_is_none(monkeypatch):
    """A variable that was meant to be filled in."""
    monkeypatch.setenv("BATCHLINE_UPSTREAM_URL", "")

    with pytest.raises(Invalid, match="UPSTREAM_URL: has no scheme; write it like http://127"):
        load_settings()


def test_addresses_are_put_into_one_form(monkeypatch):
    """The same server, however it is written, is one server."""
    monkeypatch.setenv("BATCHLINE_BACKEND_URLS", "http://a/v1,http://a:1,http://a/,http://a/b")

    found = load_settings(upstream_url="http://a/v1/chat/completions")

    assert found.upstream_url == "http://a"
    assert found.backend_urls == ("http://a", "http://a:1", "http://a/b")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:hunter2@vllm:8000", "'http://…@vllm:8000'"),
        ("http://me:hun/ter2@vllm:8000", "'http://…@vllm:8000'"),
        ("http://me:hun ter2@vllm:8000", "'http://…@vllm:8000'"),
        ("me:hunter2@vllm:8000", "'…@vllm:8000'"),
        ("http://vllm?key=hunter2", "'http://vllm?…'"),
        ("vllm:8000/#hunter2", "'vllm:8000/#…'"),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_shown(url, shown):
    """Names of backends stand in metrics, logs and on the dashboard."""
    with pytest.raises(Invalid) as caught:
        load_settings(upstream_url=url)

    text = str(caught.value)
    assert "ter2" not in text
    assert text.endswith(f"(got {shown})")


def test_whoever_writes_a_password_is_told_where_it_goes():
    """The remedy names the setting."""
    with pytest.raises(Invalid, match="BATCHLINE_UPSTREAM_API_KEY and write http://vllm:8000 "):
        load_settings(upstream_url="http://me:hunter2@vllm:8000")
