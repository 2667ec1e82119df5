"""The tables of states: total, and terminal states are final."""

from __future__ import annotations

import pytest

from batchline.states import OPEN, TERMINAL, TRANSITIONS, BatchEvent, BatchStatus, next_status


def test_every_event_has_its_row():
    """The table is total."""
    assert set(TRANSITIONS) == set(BatchEvent)


@pytest.mark.spec("3.5-never-back")
@pytest.mark.parametrize("event", BatchEvent)
@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_nothing_leaves_a_terminal_status(status, event):
    """completed, failed, expired and cancelled are for ever."""
    assert next_status(status, event) is None


def test_every_open_status_can_end():
    """From each open status some path leads to a terminal one."""
    ending = set(TERMINAL)
    for _ in BatchStatus:
        ending |= {s for s in OPEN for e in BatchEvent if next_status(s, e) in ending}
    assert ending == set(BatchStatus)
