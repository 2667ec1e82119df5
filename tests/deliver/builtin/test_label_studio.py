"""Answers become tasks of a Label Studio. `make curation-test` runs this against the real one, too."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from ended_batches import chat_answer, chat_request
from studios import (
    CHOICES,
    CONFIG,
    IS_REAL,
    LEGACY,
    RealStudio,
    Relay,
    ScriptedStudio,
    kill_handler,
)

from batchline.handlers import Context, EndedBatch, GiveUp, Result, Results
from batchline.webhooks.records import DeliveryState
from deliver.builtin.label_studio import LabelStudio
from deliver.builtin.label_studio.client import LabelStudioError, open_client
from deliver.builtin.label_studio.project import Control
from deliver.builtin.label_studio.settings import read_settings
from deliver.builtin.label_studio.tasks import prediction_of, prompt_of

PENDING, DELIVERED, GIVEN_UP = DeliveryState
TWO = CONFIG.replace("</View>", CHOICES[CHOICES.index("<Choices") :])
only_scripted = pytest.mark.skipif(IS_REAL, reason="the real one cannot be told to")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real one, started by the test that asks first."""
    if not IS_REAL:
        yield None
        return
    made = RealStudio(tmp_path_factory.mktemp("label-studio"))
    yield made
    made.end()


@pytest.fixture
async def studio(real):
    made = real or ScriptedStudio()
    if not made.is_running:
        await made.start()
    yield made
    if real is None:
        await made.kill()


def batch_of(name, **fields):
    usual = {
        "status": "completed",
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "metadata": {},
        "created_at": 1,
        "ended_at": 2,
        "total": 9,
        "completed": 9,
        "failed": 0,
        "input_file_id": "file-in",
        "output_file_id": None,
        "error_file_id": None,
    }
    return EndedBatch(id=name, **usual | fields)


def result_of(index, *, said=None, custom_id=None, failed=False):
    """One line of a batch with its request; it is answered unless it failed."""
    body = chat_answer(index)
    if said is not None:
        body["choices"][0]["message"]["content"] = said
    line = {
        "id": f"r{index}",
        "custom_id": custom_id or f"c{index}",
        "response": None if failed else {"status_code": 200, "request_id": "u", "body": body},
        "error": {"code": "server_error", "message": "it died"} if failed else None,
    }
    return Result(index, json.dumps(line).encode(), json.dumps(chat_request(index)).encode())


async def hand(studio, batch, results, **settings):
    """Hand results to the handler, as its process does; return what it kept at the end."""
    settings = {"url": studio.url, "token": LEGACY} | settings
    kept = []

    async def pieces():
        yield results

    async def keep(lines, state):
        kept.append((lines, json.loads(state)))

    stream = Results(pieces())
    context = Context(
        stream, settings=settings, idempotency_key="evt_1", attempt=1, state=None, keep=keep
    )
    handler = LabelStudio()
    assert handler.enabled(settings)
    await handler.handle(batch, stream, context)
    return kept[-1] if kept else None


def shown(task):
    """What matters of a task: its data, what is predicted, and by whom."""
    predictions = [(one["model_version"], one["result"]) for one in task["predictions"]]
    return task["data"], predictions


async def test_each_answer_becomes_a_task_with_the_answer_predicted(studio):
    """What failed becomes none; a batch that is handed over again makes none either."""
    project = await studio.project()
    lines = [result_of(0), result_of(1, failed=True), result_of(2)]

    kept = await hand(studio, batch_of("batch_1"), lines, project=project)
    await hand(studio, batch_of("batch_1"), lines, project=project)

    assert kept == (3, 2)
    tasks = await studio.tasks(project)
    assert [shown(task) for task in tasks] == [
        (
            {
                "batch_id": "batch_1",
                "custom_id": f"c{n}",
                "prompt": f"question {n}",
                "answer": f"answer {n}",
                "error": "",
            },
            [("m", [predicted("review", "textarea", text=[f"answer {n}"])])],
        )
        for n in (0, 2)
    ]


def predicted(name, kind, **value):
    return {"from_name": name, "to_name": "question", "type": kind, "value": value}


async def test_an_answer_is_a_choice_where_it_is_one_of_the_configs(studio):
    """Else nothing is predicted, as where predictions are off; what failed may become tasks, too."""
    project = await studio.project(CHOICES.replace("<View>", '<View><Header value="$team"/>'))
    batch = batch_of("batch_2", metadata={"team": "curation", "other": "x"})
    lines = [
        result_of(0, said=" good\n"),
        result_of(1, said="rather good"),
        result_of(2, failed=True),
    ]

    await hand(studio, batch, lines, project=project, include_failed="true", model_version="v7")
    await hand(
        studio,
        batch_of("batch_3", metadata={"team": "b"}),
        lines,
        project=project,
        prediction=False,
    )

    tasks = await studio.tasks(project)
    assert [task["data"]["team"] for task in tasks] == ["curation"] * 3 + ["b"] * 2
    assert tasks[2]["data"]["error"] == "server_error: it died"
    assert [shown(task)[1] for task in tasks] == [
        [("v7", [predicted("verdict", "choices", choices=["good"])])],
        *[[]] * 4,
    ]


async def test_a_project_is_found_by_its_title_or_made_once(studio):
    """Whichever batch comes first."""
    title = f"Antworten {id(studio)}"
    wanted = {"title": title, "label_config": CONFIG}
    await studio.project(title=f"{title} of others")

    await hand(studio, batch_of("batch_4"), [result_of(0)], **wanted)
    await hand(studio, batch_of("batch_5"), [result_of(0)], **wanted)

    (made,) = await studio.projects(title)
    tasks = await studio.tasks(made["id"])
    assert [task["data"]["batch_id"] for task in tasks] == ["batch_4", "batch_5"]


async def test_a_personal_token_is_exchanged_and_any_custom_id_is_found_again(studio):
    """Its own quoting, as LIKE patterns, as lists, as JSON."""
    project, token = await studio.project(), await studio.personal_token()
    names = [
        "a%41b",
        "a%b_",
        'q"uo\\te',
        "ünï",
        "x,y",
        "0",
        "true",
        "a b+c&d=e",
        '["z"]',
        "é" * 500,
    ]
    lines = [result_of(n, custom_id=name) for n, name in enumerate(names)]

    for many in (5, len(names)):
        await hand(studio, batch_of("batch_6"), lines[:many], project=project, token=token)

    tasks = await studio.tasks(project)
    assert [task["data"]["custom_id"] for task in tasks] == names
    assert none_was_taken_back(tasks)


@only_scripted
async def test_an_access_token_is_renewed_before_its_time_and_once_where_it_is_refused(studio):
    """It is valid for 300 s."""
    settings = read_settings(
        {"url": studio.url, "token": await studio.personal_token(), "project": 1}
    )
    clock = SimpleNamespace(at=0.0)
    refreshed = []

    async with open_client(settings, monotonic=lambda: clock.at) as client:
        for at, is_revoked in [(0, False), (239, False), (241, False), (242, True)]:
            clock.at = at
            if is_revoked:
                studio.revoke()
            await client.get("/api/projects/", title="")
            refreshed.append(studio.refreshed)

    assert refreshed == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("config", "settings", "error", "why"),
    [
        (CONFIG, {"token": "f" * 40}, LabelStudioError, "refused the token.*'token'"),
        (CONFIG, {"token": "a.wrong.one"}, LabelStudioError, "refused the token.*'token'"),
        (CONFIG, {"project": 987654}, LabelStudioError, "no /api/projects/987654/.*'project'"),
        (CONFIG, {"project": None, "title": "nowhere"}, LabelStudioError, "no project 'nowhere'"),
        (CONFIG, {"from_name": "verdict"}, GiveUp, "no TextArea or Choices 'verdict'.*has: review"),
        (
            CONFIG,
            {"to_name": "picture"},
            GiveUp,
            "'review' of the label config is not for 'picture'",
        ),
        ("<View/>", {}, GiveUp, "one TextArea or Choices.*has: none"),
        (
            TWO,
            {},
            GiveUp,
            "'from_name' must say which; it has: review, verdict",
        ),
        (CONFIG.replace("prompt", "prompt_text"), {}, GiveUp, r"wants \$prompt_text"),
    ],
    ids=[
        "token",
        "personal",
        "id",
        "title",
        "from_name",
        "to_name",
        "no-control",
        "two",
        "variable",
    ],
)
async def test_what_does_not_fit_is_told(studio, config, settings, error, why):
    """What settings and label config disagree in is given up; a token or a project may come."""
    project = await studio.project(config)

    with pytest.raises(error, match=why) as raised:
        await hand(studio, batch_of("batch_7"), [result_of(0)], **{"project": project} | settings)

    assert isinstance(raised.value, GiveUp) == (error is GiveUp)
    assert "question 0" not in str(raised.value)
    assert await studio.tasks(project) == []


async def test_a_batch_gets_there_once_though_handler_and_server_are_killed(studio, make_handlers):
    """500 lines: the handler before an import, and between an import and its answer; the server in one."""
    project = await studio.project()

    async def die_before(pass_on):
        kill_handler()

    async def die_after(pass_on):
        await pass_on()
        kill_handler()

    async def server_dies(pass_on):
        passed = asyncio.ensure_future(pass_on())
        await studio.kill()
        await asyncio.gather(passed, return_exceptions=True)

    async with Relay(studio, {2: die_before, 4: die_after, 6: server_dies}) as relay:
        section = {"url": relay.url, "token": LEGACY, "project": project}
        bench = await make_handlers(sections={"label-studio": section})
        await bench.completed(500, failed=[7], body_of=long_answer)
        for why in ["signal 9", "signal 9", "cannot be reached", None]:
            await bench.round()
            delivery = await bench.delivery()
            assert (why or "None") in str(delivery.last_error)
            if not studio.is_running:
                await studio.start()
            bench.clock.advance(3600)

    assert delivery.state is DELIVERED
    tasks = await studio.tasks(project)
    assert [task["data"]["custom_id"] for task in tasks] == [f"c{n}" for n in range(500) if n != 7]
    assert none_was_taken_back(tasks)
    for task in tasks:
        (found,) = task["predictions"]
        assert found["result"][0]["value"]["text"] == [task["data"]["answer"]]


def none_was_taken_back(tasks):
    """Whether none was made and deleted again: their ids are one run."""
    ids = [task["id"] for task in tasks]
    return ids == list(range(ids[0], ids[0] + len(ids)))


def long_answer(index):
    """So long that 500 are six chunks."""
    body = chat_answer(index)
    body["choices"][0]["message"]["content"] = f"{index} " + "word " * 600
    return body


async def test_an_import_that_ends_after_the_next_attempts_is_taken_back(studio, make_handlers):
    """Its attempt was killed while the server was at it: nobody could know that it would come."""
    project, late = await studio.project(), []

    async def comes_late(pass_on):
        late.append(pass_on)
        kill_handler()

    async def after_it(pass_on):
        await late[0]()
        return await pass_on()

    async with Relay(studio, {1: comes_late, 2: after_it}) as relay:
        section = {"url": relay.url, "token": LEGACY, "project": project}
        bench = await make_handlers(sections={"label-studio": section})
        await bench.completed(20)
        for _ in range(2):
            await bench.round()
            bench.clock.advance(3600)

    assert (await bench.delivery()).state is DELIVERED
    tasks = await studio.tasks(project)
    assert [task["data"]["custom_id"] for task in tasks] == [f"c{n}" for n in range(20)]


@pytest.mark.parametrize(
    ("request_", "prompt"),
    [
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "a",
        ),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "b"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"x": 1}]}]},
            "a",
        ),
        ({"messages": [{"role": "system", "content": "a"}, "rubbish"]}, ""),
        ({"input": "a"}, "a"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}, "a"),
        ({"prompt": ["a", "b"]}, "a\nb"),
        ({}, ""),
    ],
)
def test_the_prompt_is_what_the_user_said_last(request_, prompt):
    """In chat, responses and completions."""
    assert prompt_of(request_) == prompt


@pytest.mark.parametrize("answer", [None, "", " \n", "neither"])
def test_what_is_no_answer_to_the_control_is_not_predicted(answer):
    """Label Studio would take it, and show nothing."""
    assert prediction_of(answer, Control("v", "q", "choices", frozenset({"good"}))) is None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "http://x"}, "`token`"),
        ({"url": "x:1", "token": "t", "project": 1}, "'url' must be like http"),
        ({"url": "http://x", "token": "t"}, "'project'.*or 'title'"),
        (
            {"url": "http://x", "token": "t", "project": "1", "title": "abc"},
            "'project'.*or 'title'",
        ),
        ({"url": "http://x", "token": "t", "project": "one"}, "Expected .int"),
        ({"url": "http://x", "token": "t", "title": "ab"}, "3 characters"),
        (
            {"url": "http://x", "token": "t", "project": 1, "label_config": "<View/>"},
            "needs 'title'",
        ),
        ({"url": "http://x", "token": "t", "project": 1, "form_name": "x"}, "form_name"),
    ],
)
def test_wrong_settings_are_named(given, why):
    """They stop the start of the deliverer."""
    with pytest.raises(ValueError, match=why):
        LabelStudio().enabled(given)


def test_an_empty_token_turns_the_handler_off():
    """So a section may stand in a file before there is a Label Studio; a missing token is a mistake."""
    assert not LabelStudio().enabled({"url": "http://x", "token": "", "project": ""})
