"""Fixtures shared by all tests: a real store and real blobs in a temporary folder, a clock to move."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from clocks import MovedDay
from databases import new_database
from goldens import Goldens

from batchline.blobs import open_blobs
from batchline.model import NewBatch, Slice, new_batch_id
from batchline.store import open_store

# their asserts tell what differed, like those of the tests themselves
pytest.register_assert_rewrite("echoes", "refusals", "sdk_shapes")


SLOW = ("clients", "browser", "slow")
ALONE, CHAOS = "chaos", Path(__file__).parent / "chaos"
LONGEST = "e2e"
YIELDING = 5
"""How nice the other tests are to real vLLM, whose engine must not seem to hang for want of a core.

They get half of a core that a busy program shares with them; ten would leave them a tenth.
"""
COLLECTED = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption(
        "--golden-update", action="store_true", help="write tests/golden/ anew, to review its diff"
    )


def pytest_configure(config):
    """Start processes that obey SIGINT, also where the caller ignores it: a background job does.

    A child would inherit what is ignored; what is handled, as here, is its default again.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(config, items):
    """Begin with the files that have slow tests: else one core would end with them, all alone."""
    config.stash[COLLECTED] = list(items)
    astray = {i.path.name for i in items if i.get_closest_marker(ALONE) and i.path.parent != CHAOS}
    assert not astray, f"make test looks for tests marked {ALONE} in {CHAOS} alone: {astray}"
    longest = {item.path for item in items if item.get_closest_marker(LONGEST)}
    slow = {item.path for item in items if any(map(item.get_closest_marker, SLOW))}
    items.sort(key=lambda item: (item.path not in longest, item.path not in slow))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Let the end-to-end tests go first at every moment; a worker that has them begins with them."""
    if not item.get_closest_marker(LONGEST) and os.nice(0) < YIELDING:
        os.nice(YIELDING - os.nice(0))


@pytest.fixture
def collected(request):
    """All tests of the suite, or None where this run was asked for some of its files."""
    config = request.config
    return config.stash[COLLECTED] if config.args == config.getini("testpaths") else None


@pytest.fixture
def golden(request):
    """The golden answers, compared or (with --golden-update) written."""
    return Goldens(update=request.config.getoption("--golden-update"))


@pytest.fixture
def clock():
    return MovedDay()


@pytest.fixture
async def store(tmp_path, clock):
    path = tmp_path / "batchline.sqlite3"
    new_database(path)
    async with open_store(path, clock_ms=clock.ms) as opened:
        yield opened


@pytest.fixture
def blobs(tmp_path):
    with closing(open_blobs(tmp_path / "blobs")) as opened:
        yield opened


@pytest.fixture
def make_batch(store, clock):
    """Create a batch; with `lines`, one that is in progress over slices of `slice_lines`."""

    async def make(*, lines=None, slice_lines=4, expires_in_s=86400, **fields):
        usual = {
            "id": new_batch_id(),
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-in",
            "input_key": "files/in",
            "completion_window": "24h",
            "created_at": int(clock.now()),
            "expires_at": int(clock.now()) + expires_in_s,
        }
        batch = await store.add_batch(NewBatch(**usual | fields))
        if lines is None:
            return batch
        starts = range(0, lines, slice_lines)
        pieces = [Slice(batch.seq, s, min(slice_lines, lines - s), s * 10, 10) for s in starts]
        assert await store.add_slices(pieces)
        assert await store.accept(batch, total=lines, model="m", now=int(clock.now()))
        return await store.get_batch(batch.id)

    return make
