"""Settings: one precedence, every bad value listed, nothing unknown accepted."""

from __future__ import annotations

import json
import re

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


@pytest.mark.parametrize("content", [b"nope: 1", b"1: 1", b"[1, 2]", b"a: [", b"\xff\xfea", None])
def test_a_bad_yaml_file_is_named(monkeypatch, tmp_path, content):
    """Unknown keys, a wrong shape, no YAML, no UTF-8, no file."""
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("BATCHLINE_CONFIG", str(path))

    with pytest.raises(Invalid, match=r"c\.yaml"):
        load_settings()


def put_variable(monkeypatch, tmp_path, name, value):
    monkeypatch.setenv("BATCHLINE_" + name, value)


def put_dotenv(monkeypatch, tmp_path, name, value):
    quoted = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    (tmp_path / ".env").write_text(f'BATCHLINE_{name}="{quoted}"\n', "utf-8")


def put_yaml(monkeypatch, tmp_path, name, value):
    (tmp_path / "c.yaml").write_text(json.dumps({name.lower(): value}), "utf-8")
    monkeypatch.setenv("BATCHLINE_CONFIG", str(tmp_path / "c.yaml"))


put_anywhere = pytest.mark.parametrize("put", [put_variable, put_dotenv, put_yaml])

CANNOT_WORK = {
    "a log level": ("LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
    "a number": ("PORT", "x", "should be a valid integer"),
    "an example": ("MAX_ATTEMPTS", "0", "greater than or equal to 1, such as 5 (got '0')"),
    "an endless time": ("REQUEST_TIMEOUT_S", "inf", "a finite number, such as 3600.0"),
    "no host": ("HOST", "", "is empty; write an IP address such as 127.0.0.1, 0.0.0.0 or ::"),
    "a port in the host": (
        "HOST",
        "0.0.0.0:80",
        "has a port, which is a setting of its own; write 0",
    ),
    "an address": ("UPSTREAM_URL", "vllm", "has no scheme; write http://vllm (got 'vllm')"),
    "addresses": ("BACKEND_URLS", "http://a,b", "has no scheme; write http://b (got 'b')"),
    "on_failures": ("ON_FAILURES", "stop", "'continue' or 'pause'"),
}


@put_anywhere
@pytest.mark.parametrize(("name", "value", "told"), CANNOT_WORK.values(), ids=CANNOT_WORK)
def test_a_value_that_cannot_work_stops_the_start(monkeypatch, tmp_path, put, name, value, told):
    """Wherever it stands: what was given, what is allowed, an example."""
    put(monkeypatch, tmp_path, name, value)

    with pytest.raises(Invalid) as caught:
        load_settings()

    text = str(caught.value)
    assert f"  BATCHLINE_{name}: " in text
    assert told in text
    assert "(got '" in text


@put_anywhere
@pytest.mark.parametrize("name", ["API_KEY", "UPSTREAM_API_KEY"])
@pytest.mark.parametrize(
    "key", ["", "   ", "hunter2 ", "\thunter2", "hunter2\n", "hun\x00ter2", "hünter2"]
)
def test_a_key_that_protects_nothing_stops_the_start_unseen(monkeypatch, tmp_path, put, name, key):
    """What is wrong with it is told, none of it is shown."""
    if "\x00" in key and put is put_variable:
        pytest.skip("no environment holds it")
    put(monkeypatch, tmp_path, name, key)

    with pytest.raises(Invalid, match=f"  BATCHLINE_{name}: (is|holds|begins)") as caught:
        load_settings()

    text = str(caught.value)
    assert "ter2" not in text
    assert "allowed are printable ASCII characters" in text
    assert f"(got {len(key)} characters, which are not shown)" in text


SECRET = "whsec_" + "aGlkZGVu" * 4
BAD_SECRETS = {
    "empty": "",
    "no mark": "aGlkZGVu" * 4,
    "another mark": "sk_" + "aGlkZGVu" * 4,
    "no base64": "whsec_hidden!hidden!hidden!hidden!",
    "another base64": "whsec_" + "aGl_aGl-" * 4,
    "cut": "whsec_" + "aGlkZGVu" * 4 + "a",
    "too short": "whsec_" + "aGlkZGVu" * 3 + "aGlkZG==",
    "too long": "whsec_" + "aGlkZGVu" * 11,
    "a space": "whsec_" + "aGlkZGVu" * 4 + " ",
}


@put_anywhere
@pytest.mark.parametrize("secret", BAD_SECRETS.values(), ids=BAD_SECRETS)
def test_a_secret_that_signs_nothing_stops_the_start_unseen(monkeypatch, tmp_path, put, secret):
    """Receivers could verify nothing that it signed. What to write is told, none of it is shown."""
    put(monkeypatch, tmp_path, "WEBHOOK_SECRET", secret)

    with pytest.raises(Invalid, match="  BATCHLINE_WEBHOOK_SECRET: is no secret") as caught:
        load_settings()

    text = str(caught.value)
    assert "aGl" not in text
    assert "hidden" not in text
    assert "batchline webhooks secret" in text
    assert f"(got {len(secret)} characters, which are not shown)" in text


@put_anywhere
@pytest.mark.parametrize("many", [4, 8])
def test_a_secret_of_standard_webhooks_is_taken(monkeypatch, tmp_path, put, many):
    """Of 24 to 64 bytes."""
    put(monkeypatch, tmp_path, "WEBHOOK_SECRET", "whsec_" + "aGlkZGVu" * many)

    assert load_settings().webhook_secret == "whsec_" + "aGlkZGVu" * many


def test_the_secret_of_webhooks_is_shown_beside_no_other_fault(monkeypatch):
    """One that is fine stands in no message about another setting, either."""
    monkeypatch.setenv("BATCHLINE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("BATCHLINE_PORT", "x")

    with pytest.raises(Invalid) as caught:
        load_settings()

    assert "aGl" not in str(caught.value)


def test_networks_of_webhooks_are_read_like_those_that_watch(monkeypatch):
    """Addresses and networks of both kinds, comma separated."""
    monkeypatch.setenv(
        "BATCHLINE_WEBHOOK_NETWORKS", "127.0.0.0/8, 10.1.2.3,::1 ,fd00::/8,10.9.9.9/8"
    )

    found = load_settings().webhook_networks

    told = ["127.0.0.0/8", "10.1.2.3/32", "::1/128", "fd00::/8", "10.0.0.0/8"]
    assert [str(network) for network in found] == told


@pytest.mark.parametrize("value", ["example.org", "10.0.0.0/33", "10.0.0", "*", "http://10.0.0.1"])
def test_a_network_of_webhooks_that_is_none_stops_the_start(monkeypatch, value):
    """Else the operator would think that it is allowed."""
    monkeypatch.setenv("BATCHLINE_WEBHOOK_NETWORKS", f"127.0.0.0/8,{value}")

    with pytest.raises(Invalid, match="  BATCHLINE_WEBHOOK_NETWORKS: ") as caught:
        load_settings()

    assert f"(got '{value}')" in str(caught.value)


def test_a_key_that_is_no_text_is_not_shown_either(monkeypatch, tmp_path):
    """Such as a list, of a file."""
    (tmp_path / "c.yaml").write_text("api_key: [12345678]")
    monkeypatch.setenv("BATCHLINE_CONFIG", str(tmp_path / "c.yaml"))

    with pytest.raises(Invalid, match="BATCHLINE_API_KEY") as caught:
        load_settings()

    assert "1234" not in str(caught.value)


def test_a_file_is_read_as_variables_are(monkeypatch, tmp_path):
    """YAML's own types would make a number of 1234, and 8 of 010."""
    (tmp_path / "c.yaml").write_text(
        "api_key: 0012345678\ncell: 2026-11-29\nport: 010\nlog_json: yes\nmax_in_flight: null\n"
        "allowed_hosts: [a.example, b.example]\nhighest_values: {n: 4}\n"
    )
    monkeypatch.setenv("BATCHLINE_CONFIG", str(tmp_path / "c.yaml"))

    found = load_settings()

    assert (found.api_key, found.cell, found.port) == ("0012345678", "2026-11-29", 10)
    assert (found.log_json, found.max_in_flight) == (True, None)
    assert found.allowed_hosts == ("a.example", "b.example")
    assert found.highest_values == (("n", 4),)


def test_an_address_of_metrics_needs_their_port(monkeypatch):
    """Alone it would do nothing; without metrics nothing is missing."""
    monkeypatch.setenv("BATCHLINE_METRICS_HOST", "0.0.0.0")

    with pytest.raises(Invalid, match="BATCHLINE_METRICS_HOST: it needs BATCHLINE_METRICS_PORT"):
        load_settings()
    assert load_settings(metrics_port=9).metrics_address == ("0.0.0.0", 9)
    assert load_settings(serve_metrics=False).metrics_address is None


@put_anywhere
def test_what_works_is_taken_wherever_it_stands(monkeypatch, tmp_path, put):
    """Keys with all kinds of characters, a level in lower case, every address."""
    values = {"API_KEY": "sk-a b!'~", "LOG_LEVEL": "warning", "HOST": "::"}
    for name, value in values.items():
        with monkeypatch.context() as alone:
            put(alone, tmp_path, name, value)

            assert getattr(load_settings(), name.lower()) == (
                value if name != "LOG_LEVEL" else "WARNING"
            )
            (tmp_path / ".env").unlink(missing_ok=True)


def test_everything_wrong_in_all_places_is_listed_at_once(monkeypatch, tmp_path):
    """One start tells every mistake."""
    monkeypatch.setenv("BATCHLINE_PROT", "1")
    monkeypatch.setenv("BATCHLINE_LOG_LEVEL", "loud")
    (tmp_path / ".env").write_text("BATCHLINE_API_KEYS=x\nBATCHLINE_PORT\nBATCHLINE_HOST=\n")
    (tmp_path / "c.yaml").write_text("max_atempts: 5\nlease_s: -1\n")
    monkeypatch.setenv("BATCHLINE_CONFIG", str(tmp_path / "c.yaml"))

    with pytest.raises(Invalid) as caught:
        load_settings(upstream_url="vllm")

    _, *told = str(caught.value).splitlines()
    begin = [
        "BATCHLINE_PROT: ",
        ".env, line 2: ",
        "BATCHLINE_API_KEYS (in .env): ",
        "max_atempts (in /",
    ]
    begin += [
        "BATCHLINE_HOST: ",
        "BATCHLINE_UPSTREAM_URL: ",
        "BATCHLINE_LEASE_S: ",
        "BATCHLINE_LOG_LEVEL: ",
    ]
    assert [line.strip()[: len(b)] for line, b in zip(told, begin, strict=True)] == begin


@pytest.mark.parametrize("content", [b"\xff\xfeB\x00", b"BATCHLINE_PORT=5000\n\xe9"])
def test_a_dotenv_that_is_no_text_is_named(tmp_path, content):
    """UTF-16, as PowerShell writes it, would hide every name."""
    (tmp_path / ".env").write_bytes(content)

    with pytest.raises(Invalid, match=r"\.env cannot be read"):
        load_settings()


def test_a_dotenv_may_begin_with_a_mark(tmp_path):
    """Windows editors put one there."""
    (tmp_path / ".env").write_text("BATCHLINE_PORT=7\n", "utf-8-sig")

    assert load_settings().port == 7


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


def test_a_comma_in_a_password_shows_no_part_of_it(monkeypatch):
    """Lists are split at commas."""
    monkeypatch.setenv("BATCHLINE_BACKEND_URLS", "http://a,http://me:hun,ter2@b")

    with pytest.raises(Invalid) as caught:
        load_settings()

    assert not {"hun", "ter2"} & set(re.split(r"[^a-z0-9]+", str(caught.value)))


def test_whoever_writes_a_password_is_told_where_it_goes():
    """The remedy names the setting."""
    with pytest.raises(Invalid, match="BATCHLINE_UPSTREAM_API_KEY and write http://vllm:8000 "):
        load_settings(upstream_url="http://me:hunter2@vllm:8000")


def test_hosts_of_media_are_names_or_all_below_one(monkeypatch):
    """Each once, as it is compared."""
    monkeypatch.setenv("BATCHLINE_MEDIA_HOSTS", "Media.Example.org, *.CDN.example.org,192.0.2.7,")
    monkeypatch.setenv("BATCHLINE_MEDIA_NETWORKS", "10.0.0.7")

    rules = load_settings().media_rules

    assert rules.hosts == ("media.example.org", "*.cdn.example.org", "192.0.2.7")
    assert [str(network) for network in rules.networks] == ["10.0.0.7/32"]


@pytest.mark.parametrize("host", ["https://media.example.org", "a.*.example.org", "*.", "**"])
def test_what_is_no_host_of_media_stops_the_start(monkeypatch, host):
    """Nothing is allowed by mistake."""
    monkeypatch.setenv("BATCHLINE_MEDIA_HOSTS", host)
    with pytest.raises(Invalid, match="BATCHLINE_MEDIA_HOSTS: a host is a name"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("REFUSED_FIELDS", "model", "is no field that can be refused"),
        ("REFUSED_FIELDS", "a b", "is no field that can be refused"),
        ("HIGHEST_VALUES", "n=many", "BATCHLINE_HIGHEST_VALUES"),
        ("HIGHEST_VALUES", "model=3", "BATCHLINE_HIGHEST_VALUES"),
        ("WATCH_FROM", "10.0.0", "is neither an address nor a network"),
        ("WEBHOOK_SECRET", "whsec_x", "is no secret of Standard Webhooks"),
        ("WEBHOOK_SECRET", "x", "is no secret of Standard Webhooks"),
    ],
)
def test_each_value_that_means_nothing_is_refused(monkeypatch, name, value, says):
    monkeypatch.setenv("BATCHLINE_" + name, value)

    with pytest.raises(Invalid, match=says):
        load_settings()
