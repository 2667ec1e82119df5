"""Requests to a Label Studio: under which token, and what its refusals mean."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from .settings import LabelStudioSettings

_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_ACCESS_S = 240.0  # an access token is valid for 300 s
_MISSING_KEY = re.compile(r'\\?"(\w+)\\?" key is expected in task data')
_JSON = {"Content-Type": "application/json"}


class LabelStudioError(Exception):
    """It did not do what it was asked; a later attempt may succeed."""


class Refused(LabelStudioError):
    """It will not do so later either: what was sent is wrong (400)."""


class Client:
    """One Label Studio, asked under one token."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        settings: LabelStudioSettings,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._http = http
        self._url = settings.url.rstrip("/")
        self._token = settings.token
        self._is_personal = settings.token.count(".") == 2  # noqa: PLR2004 - a JWT has three parts
        self._monotonic = monotonic
        self._access: str | None = None
        self._access_until = 0.0

    async def get(self, path: str, **query: str | int) -> Any:
        """Ask for something. Raises LabelStudioError."""
        return await self._done("GET", path, query)

    async def post(self, path: str, content: bytes, **query: str | int) -> Any:
        """Send JSON. Raises LabelStudioError, Refused."""
        return await self._done("POST", path, query, content)

    async def delete(self, path: str) -> None:
        """Delete something; it may be gone already. Raises LabelStudioError."""
        answer = await self._asked("DELETE", path, {}, None)
        if answer.status_code != HTTPStatus.NOT_FOUND:
            self._check(answer, path, 0)

    async def _done(
        self, method: str, path: str, query: Mapping[str, str | int], content: bytes | None = None
    ) -> Any:
        answer = await self._asked(method, path, query, content)
        self._check(answer, path, len(content or b""))
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError as exc:
            raise LabelStudioError(
                f"{self._url}{path} answered no JSON: is it a Label Studio?"
            ) from exc

    async def _asked(
        self, method: str, path: str, query: Mapping[str, str | int], content: bytes | None
    ) -> httpx.Response:
        answer = await self._sent(method, path, query, content, await self._authorization())
        if answer.status_code == HTTPStatus.UNAUTHORIZED and self._is_personal:
            self._access = None  # it may have been revoked, or its clock may be ahead of ours
            answer = await self._sent(method, path, query, content, await self._authorization())
        return answer

    async def _authorization(self) -> Mapping[str, str]:
        if not self._is_personal:
            return {"Authorization": f"Token {self._token}"}
        if self._access is None or self._monotonic() >= self._access_until:
            content = msgspec.json.encode({"refresh": self._token})
            path = "/api/token/refresh/"
            until = self._monotonic() + _ACCESS_S
            answer = await self._sent("POST", path, {}, content, {})
            self._check(answer, path, 0)
            self._access = str(msgspec.json.decode(answer.content)["access"])
            self._access_until = until
        return {"Authorization": f"Bearer {self._access}"}

    async def _sent(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> httpx.Response:
        try:
            return await self._http.request(
                method,
                self._url + path,
                params=query,
                content=content,
                headers={**headers, **_JSON},
            )
        except (httpx.TransportError, httpx.InvalidURL) as exc:
            why = str(exc) or type(exc).__name__
            raise LabelStudioError(f"{self._url} cannot be reached: {why}") from exc

    def _check(self, answer: httpx.Response, path: str, sent_bytes: int) -> None:
        """Raise what a refusal means. Its text is not told: it repeats the tasks."""
        status = answer.status_code
        if answer.is_success:
            return
        if status == HTTPStatus.BAD_REQUEST:
            missing = sorted(set(_MISSING_KEY.findall(answer.text)))
            what = f": its label config wants ${', $'.join(missing)}" if missing else ""
            raise Refused(
                f"{self._url}{path} refused what was sent (400){what}; its log says more."
            )
        told: str | None = {
            int(
                HTTPStatus.UNAUTHORIZED
            ): "It refused the token (401): check 'token'. A legacy token works "
            "only where Label Studio allows such tokens; else make a personal access token.",
            HTTPStatus.FORBIDDEN: f"The user of the token may not use {path} (403): "
            "let it into the project, or take the token of another.",
            HTTPStatus.NOT_FOUND: f"There is no {path} (404): check 'project' and 'url', and that "
            "the user of the token sees the project.",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"It takes no request of {sent_bytes} bytes (413): "
            "raise the limit of the proxy before it.",
        }.get(status)
        where = answer.headers.get("location")
        if told is None and answer.is_redirect and where:
            told = f"It redirects to {where}: set 'url' to where it is."
        raise LabelStudioError(f"{self._url}: {told or f'{path} was answered with {status}.'}")


@asynccontextmanager
async def open_client(
    settings: LabelStudioSettings, *, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Client]:
    """Open a client; no proxy of the environment is used."""
    async with httpx.AsyncClient(
        timeout=_TIMEOUT, verify=ssl.create_default_context(), trust_env=False
    ) as http:
        yield Client(http, settings, monotonic=monotonic)
