"""Doctor: each part's finding, with a remedy wherever something is wrong."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from pathlib import Path

import pytest
from aiohttp import web
from ports import free_port
from typer.testing import CliRunner

from batchline.cli.host import checks_host
from batchline.cli.host.checks_servers import (
    check_backends,
    check_gateway,
    check_process,
    check_upstream,
)
from batchline.cli.host.findings import Level
from batchline.cli.main import app
from batchline.model import BackendStatus, FleetReport
from batchline.serving.identity import Part, identity
from batchline.settings import Settings
from batchline.store import open_store
from batchline.store.database.schema import known_schema


def answering(**answers):
    """Return an application that gives (status, JSON) under each path."""
    made = web.Application()

    def handler(status, body):
        async def answer(request):
            return web.json_response(body, status=status)

        return answer

    for path, (status, body) in answers.items():
        made.router.add_get("/" + path.replace("__", "/"), handler(status, body))
    return made


MODELS = {"object": "list", "data": [{"id": "smollm2"}]}


def one(findings):
    (finding,) = findings
    return finding


def test_doctor_finds_all_parts_at_work(serve_app, tmp_path, monkeypatch):
    """With everything there, every line is fine but for what this host lacks on purpose."""
    monkeypatch.chdir(tmp_path)
    data = Path(".batchline/data")
    url = serve_app(
        answering(
            health=(200, identity(Part.GATEWAY, data)),
            ready=(200, {"status": "ready"}),
            v1__models=(200, MODELS),
        )
    )
    dispatcher = serve_app(answering(health=(200, identity(Part.DISPATCHER, data))))
    deliverer = serve_app(answering(health=(200, identity(Part.DELIVERER, data))))
    env = {
        "BATCHLINE_URL": url,
        "BATCHLINE_UPSTREAM_URL": url,
        "BATCHLINE_BACKEND_URLS": url,
        "BATCHLINE_PORT": url.rpartition(":")[2],
        "BATCHLINE_DISPATCHER_PORT": dispatcher.rpartition(":")[2],
        "BATCHLINE_DELIVERER_PORT": deliverer.rpartition(":")[2],
    }

    done = CliRunner().invoke(app, ["doctor", "--json"], env=env)

    report = json.loads(done.stdout)
    assert [f for f in report["findings"] if f["level"] == "wrong"] == []
    assert report["ok"]
    assert done.exit_code == 0
    assert {"python", "settings", "disk", "database", "ready", "upstream", "backend"} <= {
        f["check"] for f in report["findings"]
    }


def test_doctor_exits_1_and_gives_a_remedy_for_every_fault(tmp_path, monkeypatch):
    """With nothing running, each ✗ is followed by what to do."""
    monkeypatch.chdir(tmp_path)
    env = {"BATCHLINE_URL": "http://127.0.0.1:9", "BATCHLINE_PORTT": "1"}
    env |= {"BATCHLINE_UPSTREAM_URL": "http://127.0.0.1:9", "BATCHLINE_DISPATCHER_PORT": "9"}
    env |= {"BATCHLINE_DELIVERER_PORT": str(free_port())}

    done = CliRunner().invoke(app, ["doctor"], env=env)
    report = json.loads(CliRunner().invoke(app, ["doctor", "--json"], env=env).stdout)

    assert done.exit_code == 1
    for name in ("gateway", "dispatcher", "deliverer"):
        assert f"✗ {name}" in done.stdout
    assert "BATCHLINE_PORTT: no such setting" in done.stdout
    assert all(f["remedy"] for f in report["findings"] if f["level"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_doctor_passes_on_why_the_gateway_is_not_ready(serve_app, tmp_path):
    """The reasons are the gateway's own."""
    reasons = ["no dispatcher has ever reported: is it running?"]
    health = identity(Part.GATEWAY, tmp_path)
    url = serve_app(answering(health=(200, health), ready=(503, {"reasons": reasons})))

    alive, ready = check_gateway(url, None)

    assert alive.level is Level.OK
    assert (ready.level, ready.detail) == (Level.WRONG, reasons[0])


def test_whoever_answers_in_place_of_the_gateway_is_told(serve_app, tmp_path):
    """Another program, and the gateway of another directory."""
    health = identity(Part.GATEWAY, tmp_path / "theirs")
    stranger = serve_app(answering(health=(200, {"status": "ok"}), ready=(200, {})))
    theirs = serve_app(answering(health=(200, health), ready=(200, {})))

    told = one(check_gateway(stranger, None))
    _, other, _ = check_gateway(theirs, None, data_dir=tmp_path / "mine")

    assert (told.level, other.level) == (Level.WRONG, Level.WARNING)
    assert told.detail == f"{stranger} answers, but is no gateway of batchline"
    assert other.detail == f"{theirs} works on another data directory than {tmp_path / 'mine'}"


@pytest.mark.parametrize(
    ("part", "name", "level", "told"),
    [
        (Part.DISPATCHER, "mine", Level.OK, "answers"),
        (Part.DISPATCHER, "theirs", Level.WRONG, "the dispatcher of another data directory than"),
        (Part.GATEWAY, "mine", Level.WRONG, "answers, but it is another program"),
        (Part.DELIVERER, "mine", Level.WRONG, "answers, but it is another program"),
    ],
)
def test_whoever_answers_in_place_of_the_dispatcher_is_told(
    serve_app, tmp_path, part, name, level, told
):
    """A port that somebody else has is a dispatcher that does not run."""
    url = serve_app(answering(health=(200, identity(part, tmp_path / name))))

    found = one(check_process(Part.DISPATCHER, url, data_dir=tmp_path / "mine"))

    assert found.level is level
    assert told in found.detail


def test_another_program_on_the_port_of_the_deliverer_is_told(serve_app, tmp_path):
    """With the setting that gives it another one."""
    url = serve_app(answering(health=(200, identity(Part.DISPATCHER, tmp_path))))

    found = one(check_process(Part.DELIVERER, url, data_dir=tmp_path))

    assert (found.check, found.level) == ("deliverer", Level.WRONG)
    assert "BATCHLINE_DELIVERER_PORT" in found.remedy


@pytest.mark.parametrize(
    ("answers", "level"),
    [
        ({"health": (200, {}), "v1__models": (200, MODELS)}, Level.OK),
        ({"health": (200, {}), "v1__models": (200, {"data": []})}, Level.WRONG),
        ({"health": (500, {}), "v1__models": (200, MODELS)}, Level.WRONG),
    ],
    ids=["well", "no model", "ill"],
)
def test_a_backend_must_answer_and_serve_a_model(serve_app, answers, level):
    """Health alone is not enough."""
    url = serve_app(answering(**answers))

    assert one(check_backends(Settings(backend_urls=(url,)), now=0)).level is level


REFUSALS = {
    "vLLM, a wrong key": (401, {"error": "Unauthorized"}, "stale", "refuses our key (401): Unauth"),
    "vLLM, no key": (401, {"error": "Unauthorized"}, None, "demands a key, and none is set (401)"),
    "a gateway's 403": (403, {"error": {"message": "no entry"}}, "k", "key (403): no entry"),
}


@pytest.mark.parametrize(("status", "body", "key", "says"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("health", [(200, {}), None], ids=["open", "refused, too"])
def test_a_refused_key_is_told_from_a_dead_server(serve_app, status, body, key, says, health):
    """The remedy is the key: the server's log tells nothing."""
    health = health or (status, body)
    url = serve_app(answering(health=health, v1__models=(status, body)))
    settings = Settings(backend_urls=(url,), upstream_url=url, upstream_api_key=key)

    backend = one(check_backends(settings, now=0))
    upstream = one(check_upstream(settings))

    for finding in (backend, upstream):
        assert finding.level is Level.WRONG
        assert finding.detail.startswith(f"{url} ")
        assert says in finding.detail
        assert "BATCHLINE_UPSTREAM_API_KEY" in finding.remedy


def test_a_dead_server_is_told_from_an_ill_one():
    """Nobody listens: it must be started."""
    finding = one(check_backends(Settings(backend_urls=("http://127.0.0.1:9",)), now=0))

    assert finding.level is Level.WRONG
    assert "BATCHLINE_UPSTREAM_API_KEY" not in finding.remedy
    assert finding.remedy.startswith("start it")


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"v1__models": (200, MODELS)}, "serves smollm2"),
        ({"v1__models": (302, {})}, "answers 302"),
        ({"health": (500, "broken")}, "answers 500: broken"),
        ({}, "answers 404"),
    ],
    ids=["without /health", "elsewhere", "ill", "nothing"],
)
def test_what_a_server_answers_is_told(serve_app, answers, says):
    """As the dispatcher looks at it: /health where there is one, then /v1/models."""
    url = serve_app(answering(**answers))

    assert one(check_backends(Settings(backend_urls=(url,)), now=0)).detail.find(says) > 0


def test_a_backend_with_other_models_than_most_is_a_warning(serve_app):
    """Somebody may have started it with the wrong one."""
    usual = answering(health=(200, {}), v1__models=(200, MODELS))
    other = answering(health=(200, {}), v1__models=(200, {"data": [{"id": "other"}]}))
    urls = tuple(serve_app(app) for app in (usual, other, usual))

    *alone, odd = check_backends(Settings(backend_urls=urls), now=0)

    assert [finding.level for finding in alone] == [Level.OK] * 3
    assert (odd.level, odd.detail.split()[0]) == (Level.WARNING, urls[1])


REPORTED_AT = 1_800_000_000


@pytest.fixture
async def reported(tmp_path):
    """The settings of a data directory whose dispatcher looks at one backend; `urls` to change."""

    async def report(*urls, upstream_url="http://127.0.0.1:8000"):
        settings = Settings(data_dir=tmp_path, upstream_url=upstream_url, _env_file=None)
        backends = [BackendStatus(url, url, alive=True, since=1) for url in urls]
        async with open_store(settings.database_path, clock_ms=lambda: 0) as store:
            await store.report(FleetReport(at=REPORTED_AT, backends=backends))
        return settings

    return report


async def test_the_backends_of_a_running_fleet_are_known_without_settings(serve_app, reported):
    """`batchline up` names them to its own processes only: its dispatcher's report tells them."""
    url = serve_app(answering(health=(200, {}), v1__models=(200, MODELS)))
    settings = await reported(url, "http://127.0.0.1:9")

    well, ill = check_backends(settings, now=REPORTED_AT + 15)

    assert (well.level, well.detail) == (Level.OK, f"{url} serves smollm2")
    assert (ill.level, ill.check) == (Level.WRONG, "backend")


async def test_an_old_report_names_no_backends(reported):
    """What a stopped fleet had says nothing about what should run now."""
    settings = await reported("http://127.0.0.1:9")

    finding = one(check_backends(settings, now=REPORTED_AT + 16))

    assert (finding.level, finding.check) == (Level.WARNING, "backends")


async def test_the_upstream_alone_is_not_taken_for_a_named_backend(reported):
    """A dispatcher without named backends looks at the upstream itself."""
    settings = await reported("http://127.0.0.1:9", upstream_url="http://127.0.0.1:9/")

    assert one(check_backends(settings, now=REPORTED_AT)).level is Level.WARNING


@pytest.mark.parametrize("content", [None, b"not a database" * 1000], ids=["none", "broken"])
def test_without_a_readable_database_there_is_only_the_warning(tmp_path, content):
    """The check of the database says what is wrong with it; nothing is created."""
    settings = Settings(data_dir=tmp_path, _env_file=None)
    if content:
        settings.database_path.write_bytes(content)

    assert one(check_backends(settings, now=0)).level is Level.WARNING
    assert settings.database_path.exists() is bool(content)


def test_less_disk_space_than_shall_be_kept_free_is_wrong(tmp_path):
    """Doctor says what batchline does about it."""
    settings = Settings(data_dir=tmp_path, min_free_bytes=1 << 60, _env_file=None)

    *_, disk = checks_host.check_data_dir(settings)

    assert (disk.check, disk.level) == ("disk", Level.WRONG)
    assert "uploads are refused and dispatch pauses" in disk.detail


def test_an_upstream_without_a_backend_is_told(serve_app):
    """Nginx up, every server down."""
    fault = {"error": {"message": "no server answers"}}
    url = serve_app(answering(v1__models=(503, fault)))

    finding = one(check_upstream(Settings(upstream_url=url)))

    assert finding.level is Level.WRONG
    assert "no server answers" in finding.detail


async def test_the_database_is_looked_at_and_left_alone(tmp_path):
    """None yet, of this version, of a newer one, broken: each is told, none is changed."""
    settings = Settings(data_dir=tmp_path)
    assert "none yet" in one(checks_host.check_store(settings)).detail
    assert not settings.database_path.exists()

    async with open_store(settings.database_path, clock_ms=lambda: 0):
        assert one(checks_host.check_store(settings)).detail.startswith(f"schema {known_schema()},")

    with sqlite3.connect(settings.database_path) as connection:
        connection.execute(f"PRAGMA user_version = {known_schema() + 1}")
    connection.close()
    assert one(checks_host.check_store(settings)).level is Level.WRONG

    settings.database_path.write_bytes(b"not a database" * 1000)
    assert one(checks_host.check_store(settings)).level is Level.WRONG


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_cannot_be_written_is_wrong(tmp_path):
    """The nearest existing folder decides."""
    tmp_path.chmod(0o500)

    found = list(checks_host.check_data_dir(Settings(data_dir=tmp_path / "data")))

    assert found[0].level is Level.WRONG


def test_a_data_directory_that_is_a_file_is_wrong(tmp_path):
    """It can hold nothing."""
    (tmp_path / "data").write_text("")

    found = list(checks_host.check_data_dir(Settings(data_dir=tmp_path / "data")))

    assert found[0].level is Level.WRONG


def test_a_port_that_another_program_has_is_wrong():
    """Free, ours, or taken."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        taken = one(checks_host.check_port("gateway", "127.0.0.1", port, ours=False))
        ours = one(checks_host.check_port("gateway", "127.0.0.1", port, ours=True))
    free = one(checks_host.check_port("gateway", "127.0.0.1", 0, ours=False))

    assert (taken.level, ours.level, free.level) == (Level.WRONG, Level.OK, Level.OK)


def test_nginx_is_asked_whether_it_takes_the_configuration(monkeypatch):
    """The real program judges; without one it is only a warning."""
    try:
        checks_host.find_nginx()
    except checks_host.Invalid:
        assert one(checks_host.check_nginx()).level is Level.WARNING
    else:
        assert one(checks_host.check_nginx()).level is Level.OK
