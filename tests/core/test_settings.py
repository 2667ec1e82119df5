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
