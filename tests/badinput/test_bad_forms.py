"""Multipart faults: boundaries, parts, names, sizes, injections. Nothing of a refused upload stays."""

from __future__ import annotations

import gzip

import pytest
from wire import MAX_FILE_BYTES, Case, check_refusal, form, part, request

PURPOSE = part("purpose", b"batch")
FILE = part("file", b'{"a": 1}\n', "a.jsonl")
BROKEN = "^The form is broken or cut short"
SOON = part("expires_after[anchor]", b"created_at")


def wait(value):
    return part("expires_after[seconds]", value)


CASES = {
    "no part at all": form(),
    "nothing at all": request("POST", "/v1/files", "Content-Type: multipart/form-data; boundary=b"),
}
BROKEN_FORMS = {
    "no closing boundary": form(PURPOSE, FILE, tail=b""),
    "half a closing boundary": form(PURPOSE, FILE, tail=b"--b"),
    "a part without a blank line": form(b'Content-Disposition: form-data; name="purpose"'),
    "a header without a colon": form(b"nonsense\r\n\r\nx", FILE),
    "a header with NUL": form(b"X\x00: 1\r\n\r\nx", FILE),
    "a header not UTF-8": form(b"X\xff: 1\r\n\r\nx", FILE),
    "NUL in a filename": form(PURPOSE, part("file", b"x", "a\x00b")),
    "an escape sequence in a filename": form(PURPOSE, part("file", b"x", "a\x1b[31mb")),
    "an endless header": form(b"X: " + b"a" * 70_000 + b"\r\n\r\nx", FILE),
    "a bomb of headers": form(
        b"\r\n".join(b"X%d: 1" % n for n in range(2000)) + b"\r\n\r\nx", FILE
    ),
    "a field not UTF-8": form(part("purpose", b"\xff\xfe"), FILE),
    "only the boundary": form(tail=b"--b"),
    "bare line feeds": form(tail=b'--b\nContent-Disposition: form-data; name="x"\n\n1\n--b--\n'),
}
OTHERS = {
    "no file": (form(PURPOSE), "Missing required parameter: 'file'", "file"),
    "no purpose": (form(FILE), "Missing required parameter: 'purpose'", "purpose"),
    "empty purpose": (form(part("purpose", b""), FILE), "is not one of", "purpose"),
    "unknown purpose": (form(part("purpose", b"x"), FILE), "'x' is not one of", "purpose"),
    "output purpose": (form(part("purpose", b"batch_output"), FILE), "is not one of", "purpose"),
    "purpose in capitals": (form(part("purpose", b"Batch"), FILE), "is not one of", "purpose"),
    "purpose spaced": (form(part("purpose", b" batch"), FILE), "is not one of", "purpose"),
    "purpose with NUL": (form(part("purpose", b"batch\x00"), FILE), "is not one of", "purpose"),
    "long purpose": (form(part("purpose", b"b" * 3000), FILE), "is not one of", "purpose"),
    "purpose as a file": (form(part("purpose", b"batch", "p"), FILE), "'purpose'", "purpose"),
    "file without a filename": (form(PURPOSE, part("file", b"x")), "needs a filename", "file"),
    "two files": (form(PURPOSE, FILE, FILE), "there are several", "file"),
    "file in capitals": (form(PURPOSE, part("FILE", b"x", "a")), "'file'", "file"),
    "file in brackets": (form(PURPOSE, part("file[]", b"x", "a")), "'file'", "file"),
    "no name": (
        form(PURPOSE, b'Content-Disposition: form-data; filename="a"\r\n\r\nx'),
        "'file'",
        "file",
    ),
    "no disposition": (form(PURPOSE, b"X: 1\r\n\r\nx"), "'file'", "file"),
    "no headers": (form(PURPOSE, b"\r\nx"), "'file'", "file"),
    "an attachment": (
        form(PURPOSE, b"Content-Disposition: attachment\r\n\r\nx"),
        "'file'",
        "file",
    ),
    "a nested form": (
        form(
            PURPOSE,
            b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n",
        ),
        "must not be nested",
        None,
    ),
    "a huge field": (form(part("purpose", b"b" * 90_000), FILE), "too long for a text", None),
    "a huge name": (form(part("n" * 7000, b"x"), PURPOSE), "'file'", "file"),
    "very many fields": (
        form(*(part(f"f{n}", b"x") for n in range(200)), PURPOSE, FILE),
        "more than 110 parts",
        None,
    ),
    "an empty file": (form(PURPOSE, part("file", b"", "a")), "Must be .jsonl", None),
    "a blank file": (form(PURPOSE, part("file", b" \r\n\t", "a")), "Must be .jsonl", None),
    "a lone BOM": (form(PURPOSE, part("file", b"\xef\xbb\xbf", "a")), "Must be .jsonl", None),
    "a file above the limit": (
        form(PURPOSE, part("file", b"x" * (MAX_FILE_BYTES + 1), "a")),
        f"The limit is {MAX_FILE_BYTES} bytes",
        None,
    ),
    "the file before a bad purpose": (
        form(FILE, part("purpose", b"x")),
        "is not one of",
        "purpose",
    ),
    "the bytes in base64": (
        form(PURPOSE, part("file", b"e30=", "a", "Content-Transfer-Encoding: base64")),
        "Content-Transfer-Encoding 'base64'",
        None,
    ),
    "an anchor alone": (form(PURPOSE, FILE, SOON), "Missing", "expires_after[seconds]"),
    "seconds alone": (form(PURPOSE, FILE, wait(b"3600")), "Missing", "expires_after[anchor]"),
    "another anchor": (
        form(PURPOSE, FILE, part("expires_after[anchor]", b"now"), wait(b"3600")),
        "Supported values are: 'created_at'",
        "expires_after[anchor]",
    ),
}
OTHERS |= {
    f"seconds {value!r}": (
        form(PURPOSE, FILE, SOON, wait(value)),
        "Invalid.*'expires_after.seconds.'",
        "expires_after[seconds]",
    )
    for value in (
        b"",
        b"x",
        b"3600.0",
        b"1e4",
        b"3599",
        b"-3600",
        b"2592001",
        b"9" * 400,
        "٣".encode(),
    )
}


@pytest.mark.parametrize("sent", (CASES | BROKEN_FORMS).values(), ids=CASES | BROKEN_FORMS)
def test_a_form_that_is_broken_is_refused(server, sent):
    """The message says what a form must be."""
    answer = server.ask(sent)

    assert answer.status == 400, answer
    assert answer.error["type"] == "invalid_request_error"
    assert "form" in answer.error["message"] or "Missing required" in answer.error["message"]


@pytest.mark.parametrize(("sent", "says", "param"), OTHERS.values(), ids=OTHERS)
def test_a_form_with_a_wrong_part_names_it(server, sent, says, param):
    """By param where there is one, with what is allowed."""
    answer = server.ask(sent)

    assert answer.status == 400, answer
    server_says = answer.error
    check_refusal(answer, Case(sent, 400, says, param, server_says["code"]))


PACKED = {
    "not gzip": (b"x" * 100, "is damaged, or no gzip at all"),
    "cut short": (gzip.compress(b"{}" * 100)[:-4], "is cut short"),
    "a bomb": (gzip.compress(b" " * 30_000_000), f"The limit is {MAX_FILE_BYTES} bytes"),
    "a tail": (gzip.compress(b"{}") + b"x" * 99, "followed by something else"),
    "nothing in it": (gzip.compress(b""), "Must be .jsonl"),
    "tiny members": (gzip.compress(b"") * 20_000, "tiny members|too large"),
}


@pytest.mark.parametrize(("content", "says"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("first", ["purpose", "file"])
def test_a_compressed_file_that_is_no_good_is_refused(server, content, says, first):
    """Whether the purpose comes before the bytes or after them."""
    parts = [PURPOSE, part("file", content, "a.jsonl.gz")]
    sent = form(*(parts if first == "purpose" else reversed(parts)))

    answer = server.ask(sent)

    assert answer.status == 400, answer
    check_refusal(answer, Case(sent, 400, says, None, answer.error["code"]))


NAMES = {
    "up and away": ("../../etc/passwd", "passwd"),
    "backslashes": ("..\\\\..\\\\boot.ini", "boot.ini"),
    "only dots": ("..", "upload"),
    "empty": ("", "upload"),
    "not UTF-8": ("a\udcffb", "a\ufffdb"),
    "a quote": ('a\\"b', 'a"b'),
    "a semicolon": ("a;b=c", "a;b=c"),
    "a direction mark": ("a\u202eb", "a\u202eb"),
    "a line separator": ("a\u2028b", "a\u2028b"),
    "a tab": ("a\tb", "ab"),
    "very long": ("n" * 7000, "n" * 7000),
}


@pytest.mark.parametrize(("given", "kept"), NAMES.values(), ids=NAMES)
def test_an_odd_filename_is_cleaned_and_never_a_path(process, given, kept):
    """SPEC: any filename is taken. It comes back as JSON and as a header without harm."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{given}"'
    raw = disposition.encode("utf-8", "surrogateescape") + b"\r\n\r\n{}"
    file = process.ask(form(PURPOSE, raw))

    assert (file.status, file.json["filename"]) == (200, kept)
    content = process.ask(request("GET", f"/v1/files/{file.json['id']}/content"))
    assert content.body == b"{}"
    assert content.headers["content-disposition"].startswith("attachment; filename=")


@pytest.mark.parametrize("length", ["x", "99999", "-1", "1"])
def test_the_length_of_a_part_is_ignored(process, length):
    """The boundary ends it (RFC 7578 §4.8)."""
    file = process.ask(form(part("purpose", b"batch", None, f"Content-Length: {length}"), FILE))

    assert (file.status, file.json["purpose"]) == (200, "batch")


def test_a_preamble_and_an_epilogue_are_skipped(process):
    """RFC 2046 §5.1.1: they are no parts."""
    whole = form(PURPOSE, FILE).partition(b"\r\n\r\n")[2]
    type_ = "Content-Type: multipart/form-data; boundary=b"
    sent = request("POST", "/v1/files", type_, body=b"before\r\n" + whole + b"after\r\n" * 100)

    assert process.ask(sent).status == 200
