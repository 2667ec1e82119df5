"""What the task of a result looks like. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchline.handlers import EndedBatch, GiveUp, Result

from .project import Control, Project
from .settings import LabelStudioSettings

OURS = ("batch_id", "custom_id", "prompt", "answer", "error")
"""What each task's data has."""


class Tasks:
    """Makes tasks of the results of one batch."""

    def __init__(self, batch: EndedBatch, project: Project, settings: LabelStudioSettings) -> None:
        """Begin. Raises GiveUp: the label config wants what tasks do not have."""
        self._batch = batch
        self._control = project.control
        self._model_version = settings.model_version
        wanted = project.variables - set(OURS)
        if missing := sorted(wanted - set(batch.metadata)):
            raise GiveUp(
                f"The label config of the project wants ${', $'.join(missing)}. A task has "
                f"${', $'.join(OURS)}, and what the metadata of its batch has of these names."
            )
        self._more = {name: batch.metadata[name] for name in sorted(wanted)}

    def task(self, result: Result) -> Mapping[str, Any]:
        """Return the task of one result, as the import wants it."""
        error = result.error
        data = {
            **self._more,
            "batch_id": self._batch.id,
            "custom_id": result.custom_id,
            "prompt": prompt_of(result.request),
            "answer": result.text or "",
            "error": "" if error is None else ": ".join(error),
        }
        found = None if self._control is None else prediction_of(result.text, self._control)
        if found is None:
            return {"data": data}
        model = (
            self._model_version or self._batch.model or str(result.body.get("model") or "unknown")
        )
        return {"data": data, "predictions": [{"model_version": model, "result": [found]}]}


def prediction_of(answer: str | None, control: Control) -> Mapping[str, Any] | None:
    """Return the prediction that an answer is; None if it is none of the choices, or empty."""
    if not answer or not answer.strip():
        return None
    value: Mapping[str, Sequence[str]] = {"text": [answer]}
    if control.choices is not None:
        if answer.strip() not in control.choices:
            return None
        value = {"choices": [answer.strip()]}
    return {
        "from_name": control.from_name,
        "to_name": control.to_name,
        "type": control.kind,
        "value": value,
    }


def prompt_of(request: Mapping[str, Any]) -> str:
    """Return the text of a request's last user message, its input, or its prompt; empty if it has none."""
    for key in ("messages", "input"):
        said = request.get(key)
        if isinstance(said, list):
            users = [one for one in said if isinstance(one, dict) and one.get("role") == "user"]
            said = users[-1].get("content") if users else None
        if text := _text(said):
            return text
    return _text(request.get("prompt"))


def _text(content: Any) -> str:
    return "\n".join(_texts(content))


def _texts(content: Any) -> Iterator[str]:
    """Yield text as it is, and that of the parts of a message (`text`, `input_text`)."""
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text
