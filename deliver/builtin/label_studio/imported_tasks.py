"""What a project has of a batch: each task once, though Label Studio knows no idempotency key.

The same import again makes the same tasks again. So tasks carry the batch's id and their custom_id, and what
a project has of a batch is looked up: before each chunk if it has anything of the batch, and at the end, to
take back tasks of an import whose attempt was killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from batchline.handlers import EndedBatch, GiveUp

from .client import Client, Refused
from .project import Project

_PAGE = 500
_QUERY_BYTES = 4000  # servers take URLs of 8 KB, and quoting makes names longer

_NOTHING = (False, -(1 << 62))  # worse than any task

Chunk = Mapping[str, bytes]
"""Tasks by custom_id."""


class Imported:
    """What a project has of a batch."""

    def __init__(self, client: Client, project: Project, batch: EndedBatch) -> None:
        self._client = client
        self._project = project
        self._batch = batch
        self._has_some = True

    async def open(self) -> None:
        """Look whether it has anything of the batch, of an earlier attempt or before a replay."""
        self._has_some = await self._count() > 0

    async def add(self, chunk: Chunk) -> None:
        """Import those tasks of the chunk that are not there yet. Raises GiveUp if they are refused."""
        known = await self._known(list(chunk)) if self._has_some else set()
        missing = [task for custom_id, task in chunk.items() if custom_id not in known]
        if not missing:
            return
        try:
            await self._client.post(
                f"/api/projects/{self._project.id}/import", b"[%b]" % b",".join(missing)
            )
        except Refused as exc:
            raise GiveUp(str(exc)) from exc

    async def take_back_doubles(self, many: int) -> None:
        """Delete tasks that are there twice: an import of a killed attempt may end after the next one's.

        `many`: how many there should be; only if there are more, all are looked at. Of two the annotated
        one stays, else the older.
        """
        if (total := await self._count()) <= many:
            return
        best: dict[str, tuple[bool, int]] = {}
        doubles: list[int] = []
        for page in range(1, -(-total // _PAGE) + 1):
            for task in (await self._found([], page=page, page_size=_PAGE))["tasks"]:
                custom_id = str(task["data"]["custom_id"])
                worth = bool(task["total_annotations"]), -int(task["id"])
                better, worse = sorted((worth, best.get(custom_id, _NOTHING)), reverse=True)
                best[custom_id] = better
                doubles += [] if worse is _NOTHING else [-worse[1]]
        for number in doubles:
            await self._client.delete(f"/api/tasks/{number}/")

    async def _count(self) -> int:
        return int((await self._found([], page=1, page_size=1))["total"])

    async def _known(self, custom_ids: Sequence[str]) -> set[str]:
        known: set[str] = set()
        for few in _in_queries(custom_ids):
            wanted = [_filter("custom_id", "in_list", few)]
            found = await self._found(wanted, page=1, page_size=len(few) * 2)  # some may be doubled
            known |= {str(task["data"]["custom_id"]) for task in found["tasks"]}
        return known

    async def _found(self, more: Sequence[Mapping[str, Any]], *, page: int, page_size: int) -> Any:
        of_batch = _filter("batch_id", "equal", self._batch.id)
        query = {"filters": {"conjunction": "and", "items": [of_batch, *more]}}
        return await self._client.get(
            "/api/tasks/",
            project=self._project.id,
            query=msgspec.json.encode(query).decode().replace("%", "%25"),  # it unquotes it twice
            page=page,
            page_size=page_size,
            resolve_uri="false",  # data as they are
        )


def _filter(key: str, operator: str, value: str | Sequence[str]) -> Mapping[str, Any]:
    return {
        "filter": f"filter:tasks:data.{key}",
        "operator": operator,
        "type": "String",
        "value": value,
    }


def _in_queries(custom_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split them so that each part fits into a URL."""
    few: list[str] = []
    size = 0
    for custom_id in custom_ids:
        added = (
            5 * len(custom_id.encode()) + 9
        )  # quoted; a percent sign twice, and two quotes and a comma
        if few and size + added > _QUERY_BYTES:
            yield few
            few, size = [], 0
        few.append(custom_id)
        size += added
    if few:
        yield few
