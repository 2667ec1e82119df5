"""Names that look like settings: which are told, and what is proposed."""

from __future__ import annotations

import pytest

from batchline.config.unknown_names import dotenv_faults, unknown_keys, unknown_variables

FIELDS = ("port", "api_key", "max_in_flight", "upstream_url")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BATCHLINE_PROT", "BATCHLINE_PORT"),
        ("batchline_prot", "BATCHLINE_PORT"),
        ("BATCHLINE_MAX_INFLIGHT", "BATCHLINE_MAX_IN_FLIGHT"),
        ("BATCHLINE_KEY", "BATCHLINE_API_KEY"),
        ("BATCHLIN_API_KEY", "BATCHLINE_API_KEY"),
        ("BATCH_LINE_UPSTREAM_URL", "BATCHLINE_UPSTREAM_URL"),
        ("BATCHLINEPORT", "BATCHLINE_PORT"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(name, meant):
    """Also in the prefix: else a key that was set would lock nothing."""
    (told,) = unknown_variables([name], FIELDS)

    assert told.startswith(f"{name}: no such setting; did you mean {meant}? ")


def test_what_is_like_nothing_is_told_alone():
    """A wrong proposal is worse than none."""
    (told,) = unknown_variables(["BATCHLINE_COLOUR_SCHEME"], FIELDS)

    assert told == "BATCHLINE_COLOUR_SCHEME: no such setting; docs/settings.md lists them all"


@pytest.mark.parametrize(
    "name",
    [
        *("BATCHLINE_PORT", "batchline_port", "BATCHLINE_CONFIG", "BATCHLINE_URL"),
        *("BATCHLINE_COMPOSE_GPUS", "BATCHLINE_TEST_FAILPOINTS"),
        *("PORT", "BASH_VERSION", "BATCH_SIZE", "HF_TOKEN", "API_KEY", "BATCH_PORT"),
    ],
)
def test_what_is_known_or_not_ours_is_left_alone(name):
    """Other programs have settings, too."""
    assert unknown_variables([name], FIELDS) == []


def test_keys_of_the_yaml_file_have_no_prefix():
    """What is proposed is written as there."""
    told = unknown_keys(["prot", "port", "7", "PORT"], FIELDS, " (in c)")

    assert [line.partition(" docs/")[0] for line in told] == [
        "7 (in c): no such setting;",
        "PORT (in c): no such setting; did you mean port?",
        "prot (in c): no such setting; did you mean port?",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# BATCHLINE_X\n",
        "HF_TOKEN\nsome thing\n",
        "export BATCHLINE_PORT='1'\n",
        "BATCHLINE_PORT=\n",
    ],
)
def test_a_sound_dotenv_has_no_faults(text):
    """What is not ours may be anything; whether a value will do is not asked here."""
    assert list(dotenv_faults(text, FIELDS)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\nBATCHLINE_PORT 1\n", ".env, line 2: not NAME=value, such as BATCHLINE_PORT=5000"),
        ("BATCHLINE_PORT\n", ".env, line 1: not NAME=value"),
        ("BATCHLINE_API_KEY='x\n", ".env, line 1: not NAME=value"),
        (
            "BATCHLINE_PROT=1",
            "BATCHLINE_PROT (in .env): no such setting; did you mean BATCHLINE_PORT?",
        ),
        ("BATCHLINE_CONFIG=c", "BATCHLINE_CONFIG (in .env): it is read from the environment only"),
    ],
)
def test_what_would_be_left_out_of_a_dotenv_is_told(text, told):
    """A key on such a line would lock nothing."""
    (found,) = dotenv_faults(text, FIELDS)

    assert found.startswith(told)
