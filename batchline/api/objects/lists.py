"""Pages of what clients list, as they get them, and the answer to a deletion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from batchline.model import Batch, File, FleetReport
from batchline.store.records import Page
from batchline.webhooks.records import Delivery, Endpoint

from .batch import BatchObject, batch_object
from .file import FileObject, file_object
from .webhook import DeliveryObject, WebhookEndpointObject, delivery_object, endpoint_object

Listed = FileObject | BatchObject | WebhookEndpointObject | DeliveryObject


class ListObject(msgspec.Struct, frozen=True, kw_only=True):
    """One page. An empty page has no first and last id, and nothing follows it."""

    object: Literal["list"] = "list"
    data: Sequence[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedObject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the deletion of a file, a batch, a response or an endpoint."""

    id: str
    object: Literal["file", "batch", "response", "webhook_endpoint.deleted"] = "file"
    deleted: bool = True


def file_list(page: Page[File]) -> ListObject:
    """Show one page of files."""
    return _list([file_object(file) for file in page.items], has_more=page.has_more)


def batch_list(page: Page[Batch], report: FleetReport | None = None) -> ListObject:
    """Show one page of batches; `report` as for one."""
    return _list([batch_object(batch, report) for batch in page.items], has_more=page.has_more)


def endpoint_list(page: Page[Endpoint]) -> ListObject:
    """Show one page of endpoints."""
    return _list([endpoint_object(one) for one in page.items], has_more=page.has_more)


def delivery_list(page: Page[Delivery]) -> ListObject:
    """Show one page of deliveries."""
    return _list([delivery_object(one) for one in page.items], has_more=page.has_more)


def _list(data: Sequence[Listed], *, has_more: bool) -> ListObject:
    return ListObject(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        # A client that is told of more after an empty page would ask again and again.
        has_more=has_more and bool(data),
    )
