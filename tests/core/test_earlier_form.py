"""The earlier form of the settings file: each key is one setting, and all faults are told by its key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchline.config.earlier_form import SECTIONS
from batchline.errors import Invalid
from batchline.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "earlier-yaml.md"
KEYS = {f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys}
EACH = {
    "model.path": ("/models/qwen", "fleet_model", "/models/qwen"),
    "model.tensor_parallel_size": ("4", "fleet_tensor_parallel_size", 4),
    "serving.batch_size": ("8", "sync_batch_size", 8),
    "serving.batch_interval": ("0.25", "sync_batch_interval_s", 0.25),
    "serving.max_concurrent_requests": ("64", "sync_max_concurrent_requests", 64),
    "serving.response_role": ("helper", "fleet_response_role", "helper"),
    "serving.enable_prompt_tokens_details": ("true", "fleet_prompt_tokens_details", True),
    "metrics.enable": ("false", "serve_metrics", False),
    "metrics.url": ("0.0.0.0", "metrics_host", "0.0.0.0"),
    "metrics.port": ("9001", "metrics_port", 9001),
    "logging.level": ("debug", "log_level", "DEBUG"),
    "logging.max_log_len": ("200", "fleet_max_log_len", 200),
    "security.api_key": ("sk-earlier", "api_key", "sk-earlier"),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No variable and no .env of the machine takes part."""
    import os

    for name in [n for n in os.environ if n.startswith("BATCHLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Load the settings by a file that holds this text."""

    def loaded(text, **arguments):
        (tmp_path / "c.yaml").write_text(text)
        monkeypatch.setenv("BATCHLINE_CONFIG", "c.yaml")
        return load_settings(**arguments)

    return loaded


@pytest.fixture
def faults(load):
    """The lines that are told of a file."""

    def told(text):
        with pytest.raises(Invalid) as caught:
            load(text)
        return [line.strip() for line in str(caught.value).splitlines()[1:]]

    return told


def written(*keys):
    """A file with these keys."""
    return "".join(
        f"{section}:\n"
        + "".join(
            f"  {key}: {EACH[name][0]}\n"
            for key in settings
            if (name := f"{section}.{key}") in keys
        )
        for section, settings in SECTIONS.items()
        if any(key.startswith(section) for key in keys)
    )


def test_the_table_is_about_settings():
    """None of which could be taken for a section."""
    named = [setting for keys in SECTIONS.values() for setting in keys.values()]

    assert set(named) <= set(Settings.model_fields)
    assert len(set(named)) == len(named)
    assert not set(SECTIONS) & set(Settings.model_fields)
    assert set(EACH) == KEYS


@pytest.mark.parametrize("key", EACH)
def test_each_key_is_its_setting(load, key):
    """One at a time: nothing else changes."""
    _, setting, value = EACH[key]
    beside = {"metrics.port"} if key == "metrics.url" else set()

    found = load(written(key, *beside)).model_dump()

    changed = {name for name, info in Settings.model_fields.items() if found[name] != info.default}
    assert found[setting] == value
    assert changed == {setting} | {EACH[other][1] for other in beside}


def test_all_keys_together(load):
    """A whole file of the earlier form."""
    found = load(written(*EACH))

    assert {setting: getattr(found, setting) for _, setting, _ in EACH.values()} == {
        setting: value for _, setting, value in EACH.values()
    }


def test_variables_and_arguments_win(load, monkeypatch, tmp_path):
    """As over a file of our own form."""
    monkeypatch.setenv("BATCHLINE_LOG_LEVEL", "error")
    (tmp_path / ".env").write_text("BATCHLINE_METRICS_PORT=7001\n")

    found = load(written(*EACH), fleet_model="another")

    assert (found.log_level, found.metrics_port, found.fleet_model) == ("ERROR", 7001, "another")
    assert found.api_key == "sk-earlier"


@pytest.mark.parametrize(
    "text", ["model:\n", "metrics: {}\nmodel: null\n", "model:\nserving:\nsecurity:\n"]
)
def test_an_empty_section_says_nothing(load, text):
    """All stays at its default."""
    assert load(text) == Settings()


UNKNOWN = {
    "a slip in a key": (
        "serving: {batchsize: 1}",
        "serving.batchsize (in c.yaml): no such key; did you mean serving.batch_size? serving has ",
    ),
    "capitals": (
        "security: {API_KEY: x}",
        "security.API_KEY (in c.yaml): no such key; did you mean security.api_key? ",
    ),
    "a key of another section": (
        "logging: {port: 1}",
        "logging.port (in c.yaml): no such key; did you mean metrics.port? logging has level, max_log_len",
    ),
    "a key like none": (
        "metrics: {qqqq: 1}",
        "metrics.qqqq (in c.yaml): no such key; metrics has enable, url, port",
    ),
    "no text": ("model: {7: x}", "model.7 (in c.yaml): no such key; "),
    "a slip in a section": (
        "modle: {path: x}\nmetrics:\n",
        "modle (in c.yaml): no such section; did you mean model? there are model, serving, ",
    ),
    "a slip in the only section": (
        "securty: {api_key: x}",
        "securty (in c.yaml): no such setting; did you mean security? ",
    ),
    "a section like none": (
        "qqqq:\nmodel:\n",
        "qqqq (in c.yaml): no such section; there are model",
    ),
    "a setting of our own form": (
        "host: 0.0.0.0\nmodel: {path: x}",
        "host (in c.yaml): a setting beside sections of the earlier form; write the file in one form",
    ),
    "a text for a section": (
        "model: Qwen/Qwen3-8B",
        "model (in c.yaml): a section, which holds keys, such as 'model: {path: …}'; model has path",
    ),
    "a list for a section": ("serving: [batch_size]", "serving (in c.yaml): a section, which "),
}


@pytest.mark.parametrize(("text", "told"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_unknown_is_refused_with_the_nearest_known(faults, text, told):
    """Else the service would not do what its file says."""
    (found,) = faults(text)

    assert found.startswith(told)


UNFIT = {
    "model.path": ("[a]", "should be a valid string"),
    "model.tensor_parallel_size": (
        "two",
        "valid integer, unable to parse string as an integer, such as 1",
    ),
    "serving.batch_size": (
        "true",
        "valid integer, unable to parse string as an integer, such as 32",
    ),
    "serving.batch_interval": ("-1", "greater than or equal to 0, such as 0.0 (got '-1')"),
    "serving.max_concurrent_requests": ("0", "greater than or equal to 1, such as 256 (got '0')"),
    "serving.response_role": ("''", "at least 1 character"),
    "serving.enable_prompt_tokens_details": ("perhaps", "valid boolean"),
    "metrics.enable": ("7", "valid boolean"),
    "metrics.url": (
        "http://0.0.0.0:8001",
        "is a URL, but only its host is wanted; write an IP address",
    ),
    "metrics.port": ("70000", "less than or equal to 65535"),
    "logging.level": ("loud", "'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL' (got 'loud')"),
    "logging.max_log_len": ("-1", "greater than or equal to 0"),
    "security.api_key": ("' hunter2'", "begins or ends with white space"),
}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_value_that_cannot_work_is_told_by_its_key(faults, key):
    """What is allowed, and what was given unless it is secret."""
    value, told = UNFIT[key]
    section, _, name = key.partition(".")

    (found,) = faults(f"{section}: {{{name}: {value}}}")

    assert found.startswith(f"{key} (in c.yaml): ")
    assert told in found
    assert "hunter2" not in found


def test_all_faults_are_told_at_once(faults, monkeypatch):
    """Those of the environment, too, by their own names, although the file names the same setting."""
    monkeypatch.setenv("BATCHLINE_LOG_LEVEL", "loud")

    found = faults(
        "port: 1\nmodle:\nlogging: {level: louder}\nserving: {batch_size: x, bath: 1}\nmodel: 7\n"
    )

    assert [re.split(" |:", line)[0] for line in found] == [
        *("port", "modle", "serving.bath", "model"),
        *("serving.batch_size", "BATCHLINE_LOG_LEVEL"),
    ]


def test_the_page_explains_each_key():
    """With its section and its setting, in the order of the table."""
    rows = re.findall(
        r"^\| `([a-z_]+\.[a-z_]+)` \| `BATCHLINE_([A-Z_]+)` \|", PAGE.read_text(), re.MULTILINE
    )

    assert [(key, name.lower()) for key, name in rows] == [
        (f"{section}.{key}", setting)
        for section, keys in SECTIONS.items()
        for key, setting in keys.items()
    ]


def test_the_example_of_the_page_is_such_a_file(load):
    """It has each key once."""
    example = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]

    found = load(example)

    assert all(re.search(rf"^  {key.partition('.')[2]}: ", example, re.MULTILINE) for key in KEYS)
    assert (found.fleet_model, found.metrics_port) == ("Qwen/Qwen3-0.6B", 9090)
