"""The scripted vLLM of these tests, and what must therefore come back for each line.

It answers each request with what it was asked, in the dialect of its path. A prompt that starts with REFUSE is
refused with 400, one that starts with WAIT is never answered.
"""

from __future__ import annotations

import json

from aiohttp import web
from scripted import HANG, completion, message

TERMINAL = {"completed", "failed", "expired", "cancelled"}
CHAT = "/v1/chat/completions"


def expected(body):
    """Return what the model server answers to a request body."""
    if is_response(body):
        return response(body)
    if "input" in body:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": n, "embedding": [len(text), 0.5]}
            for n, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return {"object": "list", "data": data, "model": body["model"], "usage": usage}
    if "text_1" in body:
        scores = [{"index": n, "score": len(text)} for n, text in enumerate(body["text_2"])]
        return {"object": "list", "data": scores, "model": body["model"], "usage": None}
    return completion(f"echo: {asked(body)}", model=body["model"], created=1_700_000_000)


def response(body):
    """Answer on /v1/responses, as vLLM does: with the details of the usage."""
    said = {"type": "output_text", "text": f"echo: {asked(body)}", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {
        "id": "resp_of_the_server",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": body["model"],
        "status": "completed",
        "output": [message | {"content": [said]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 10,
        },
    }


REFUSAL = {
    "message": "max_tokens is too large: 99999.",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}


def is_response(body):
    """Whether the request is one of /v1/responses: embeddings have texts as their input, too."""
    given = body.get("input")
    has_messages = isinstance(given, list) and given and isinstance(given[0], dict)
    return "service_tier" in body or has_messages


def asked(body):
    messages = body["input"] if is_response(body) else body.get("messages")
    if not messages or isinstance(messages, str):
        return messages or ""
    content = messages[-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def answer(body, attempt):
    if asked(body).startswith("WAIT"):
        return HANG

    async def answer_in_its_dialect(request):
        if request.path.startswith("/v1/messages"):
            return anthropic_answer(request.path, body)
        if asked(body).startswith("REFUSE"):
            return web.json_response({"error": REFUSAL}, status=400)
        return raw_json(expected(body))

    return answer_in_its_dialect


def raw_json(value):
    """As vLLM writes it: raw, so that line separators arrive unescaped."""
    text = json.dumps(value, ensure_ascii=False)
    return web.Response(text=text, content_type="application/json")


def anthropic_answer(path, body):
    if asked(body).startswith("REFUSE"):
        error = {"type": "BadRequestError", "message": REFUSAL["message"]}
        return web.json_response({"type": "error", "error": error}, status=400)
    if path.endswith("/count_tokens"):
        return web.json_response({"input_tokens": len(asked(body))})
    whole = message(f"echo: {asked(body)}", model=body["model"])
    return web.Response(**streamed(whole)) if body.get("stream") else raw_json(whole)


def streamed(whole):
    """The events of a message, as vLLM sends them."""
    (block,) = whole["content"]
    start = whole | {"content": [], "stop_reason": None}
    usage = {"output_tokens": whole["usage"]["output_tokens"]}
    events = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block | {"text": ""}},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": piece},
            }
            for piece in block["text"].split(" ")
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]
    text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return {"text": text, "content_type": "text/event-stream"}


def chat_line(custom_id, content, **body):
    """Make one request as JSON can say it, odd values included."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "stop": None} | body
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def jsonl(lines):
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


ODD = {
    "plain": "What is 2 + 2?",
    "": "an empty custom_id is text too",
    " spaces kept ": "  leading and trailing  ",
    "ünïcödé-日本-🎉": "Grüße, 你好, 🎉, \u05e9\u05dc\u05d5\u05dd",
    "separators": "one\u2028two\u2029three\u0085four\x0bfive\x0csix\x1cseven",
    "controls": 'tab\tnewline\nreturn\rquote"backslash\\nul\u0000',
    "x" * 512: "a long custom_id",
    "markup": "<script>&amp;</script> {{ jinja }} ${shell}",
}
"""custom_id → prompt: what a careless server mangles."""


def odd_lines():
    """Make requests whose every value has a reason to break."""
    return [
        chat_line(custom_id, prompt, seed=2**62 + n, chat_template_kwargs={"thinking": None})
        for n, (custom_id, prompt) in enumerate(ODD.items())
    ]


def compare(lines, requests):
    """Hold a result file against its requests: each once, in order, the answer unchanged."""
    assert [line["custom_id"] for line in lines] == [r["custom_id"] for r in requests]
    for line, request in zip(lines, requests, strict=True):
        assert set(line) == {"id", "custom_id", "response", "error"}
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["body"] == expected(request["body"])
    assert len({line["id"] for line in lines}) == len(lines)
