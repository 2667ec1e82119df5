"""Listing, showing, finding and cancelling batches."""

from __future__ import annotations

import json

import pytest
from scripted_api import completed, running

from batchline.cli.api.resolve import resolve


def test_ls_is_empty_without_batches(batchline):
    """Nothing on standard output; what to do next on the other."""
    done = batchline("ls")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "batchline submit" in done.stderr


def test_ls_lists_the_newest_first_in_columns(batchline, api):
    """Full ids into a pipe, and the words and figures of the dashboard."""
    api.add(1, **completed(failed=1))
    api.add(2, **running(2501, 4000), metadata={"name": "nightly"})

    header, second, first = batchline("ls").stdout.splitlines()

    assert header.split() == [
        "BATCH",
        "NAME",
        "STATUS",
        "DONE",
        "LINES",
        "FAILED",
        "CREATED",
        "TOOK",
    ]
    assert second.split()[:6] == [f"batch_{2:032x}", "nightly", "▶", "running", "62.5", "%"]
    assert "✓ completed" in first
    assert "100 %" in first


def test_ls_pages_and_limits(batchline, api):
    """--limit stops early and says that there is more; --all walks every page."""
    for number in range(1, 251):
        api.add(number)

    few, everything = batchline("ls", "-n", "3", "--json"), batchline("ls", "--all", "--json")

    assert len(json.loads(few.stdout)) == 3
    assert len({b["id"] for b in json.loads(everything.stdout)}) == 250
    assert "ls --all" in batchline("ls", "-n", "3").stderr


def test_ls_filters_by_status_in_either_vocabulary(batchline, api):
    """`running` is what people say, `in_progress` what the API says."""
    api.add(1, **running(1))
    api.add(2, **completed())

    for word in ("running", "in_progress"):
        assert len(json.loads(batchline("ls", "--status", word, "--json").stdout)) == 1
    assert batchline("ls", "--status", "gone").exit_code == 2


@pytest.mark.parametrize("knows_status", [True, False], ids=["", "of another version"])
def test_ls_lets_the_server_filter(batchline, api, knows_status):
    """One page, however many others there are; a server that does not know how is read whole."""
    api.knows_status = knows_status
    api.add(1, **completed())
    for number in range(2, 251):
        api.add(number)

    done = batchline("ls", "--status", "completed", "--json")

    assert [b["id"] for b in json.loads(done.stdout)] == [f"batch_{1:032x}"]
    assert api.paths("GET") == ["/v1/batches"] * (1 if knows_status else 3)


def test_show_writes_what_is_known(batchline, api):
    """A label a line; --json is the server's object."""
    batch_id = api.add(
        **completed(failed=1), metadata={"name": "nightly", "suite": "mmlu"}, model="m"
    )

    text, raw = batchline("show", "nightly").stdout, json.loads(batchline("show", "--json").stdout)

    assert raw == api.batches[batch_id]
    for part in (batch_id, "nightly", "✓ completed", "4 of 4 (100 %)", "1 (25.0 %)", "suite=mmlu"):
        assert part in text


def test_show_lists_the_first_faults(batchline, api):
    """Twenty, and how many more there are."""
    faults = [
        {"code": "c", "line": n, "message": f"fault {n}", "param": None} for n in range(1, 31)
    ]
    api.add(status="failed", errors={"object": "list", "data": faults})

    text = batchline("show").stdout

    assert "fault 20" in text
    assert "fault 21" not in text
    assert "and 10 more" in text


def test_show_tells_why_a_batch_paused_by_itself(batchline, api):
    """The whole reason, and that its owner wanted it so."""
    reason = "51 of the last 60 requests failed. " + "Most often: " + "x" * 600 + ". Resume it."
    fault = {"code": "most_requests_failed", "line": None, "message": reason, "param": None}
    errors = {"object": "list", "data": [fault]}
    api.add(**running(60, 100, 51), paused_at=1_800_000_050, errors=errors, on_failures="pause")

    text = batchline("show").stdout

    assert "‖ paused" in text
    assert f"  batch        most_requests_failed: {reason}" in text
    assert "on failures    pause" in text


def test_a_batch_that_takes_requests_is_open(batchline, api):
    """Also where its total is shown; once it was finalized it runs."""
    api.add(1, **running(4, 4), open=True)
    api.add(2, **running(4, 9), open=False)

    assert "▷ open" in batchline("show", "batch_" + f"{1:032x}").stdout
    listed = batchline("ls").stdout
    assert ("▷ open" in listed, "▶ running" in listed) == (True, True)


def test_show_tells_that_most_lines_fail(batchline, api):
    """In the server's words, which say what fails them."""
    api.add(**running(100, 400, 60), failing="Most lines fail: 400: prompt # is too long")

    assert "warning        Most lines fail: 400: prompt # is too long" in batchline("show").stdout


@pytest.mark.parametrize(
    "reference", [f"batch_{0xABC1:032x}", "abc", "batch_abc", "nightly", "@last"]
)
def test_a_batch_is_found_by_id_prefix_name_or_last(batchline, api, reference):
    """All four lead to the same batch."""
    api.add(7)
    wanted = api.add(0xABC1)
    api.batches.pop(wanted)
    wanted = (
        "batch_" + "abc1".ljust(32, "0") if "abc" in reference and len(reference) < 20 else wanted
    )
    api.batches[wanted] = api.batches[f"batch_{7:032x}"] | {
        "id": wanted,
        "metadata": {"name": "nightly"},
    }
    api.next_states[wanted] = []

    assert json.loads(batchline("show", reference, "--json").stdout)["id"] == wanted


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("twice", "2 batches match"),
        ("000", "batches match"),
        ("nobody", "No batch has the id or name"),
        (f"batch_{99:032x}", "No batch found"),
        ("../v1/files", "No batch has the id or name"),
    ],
)
def test_a_reference_that_means_none_or_several_is_refused(batchline, api, reference, said):
    """Never the wrong batch by guess; the candidates are listed."""
    api.add(1, metadata={"name": "twice"})
    api.add(2, metadata={"name": "twice"})

    done = batchline("show", reference)

    assert done.exit_code == 2
    assert said in done.stderr


def test_hostile_text_is_inert(batchline, api):
    """Escape sequences, bells and direction marks never reach the terminal."""
    evil = "a\x1b[2Jb\x07c\u202ed\x9be\r\nf"
    api.add(metadata={"name": evil, evil: evil}, model=evil, status="failed", errors={
        "data": [{"code": evil, "line": 1, "message": evil, "param": None}]
    })  # fmt: skip

    for command in (["ls"], ["show"], ["ls", "--json"], ["watch"], ["results"]):
        done = batchline(*command)
        for bad in ("\x1b", "\x07", "\u202e", "\x9b", "\r"):
            assert bad not in done.stdout + done.stderr, command


def test_cancel_asks_unless_told(batchline, api):
    """Without a person to ask it wants --yes."""
    batch_id = api.add(**running(1))

    asked, told = batchline("cancel", batch_id), batchline("cancel", batch_id, "--yes")

    assert asked.exit_code == 2
    assert "1 finished lines are kept, 3 are not answered" in asked.stderr
    assert told.exit_code == 0
    assert "⊘ cancelling" in told.stdout


def test_cancel_of_an_ended_batch_passes_the_servers_refusal_on(batchline, api):
    """The reason is the server's own."""
    api.add(**completed())

    done = batchline("cancel", "@last")

    assert done.exit_code == 2
    assert "Cannot cancel a batch with status 'completed'" in done.stderr


def test_resolving_last_asks_for_one_page_only(api):
    """@last must stay cheap on a server with many batches."""
    from batchline.cli.api.client import Client

    for number in range(1, 251):
        api.add(number)
    with Client(api.url) as client:
        assert resolve(client, "@last").id == f"batch_{250:032x}"

    assert len(api.requests) == 1
