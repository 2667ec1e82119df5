"""The real servers that built-in handlers write to, one for all tests of a module."""

from __future__ import annotations

import pytest
from buckets import running_buckets
from clusters import running_cluster


@pytest.fixture(scope="module")
def cluster():
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def buckets():
    with running_buckets() as running:
        yield running
