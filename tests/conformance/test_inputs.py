"""Files, URLs and secrets as input: cases 36-40 of the runtime specification."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from harness.receiver import Received, Reply
from harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Serve
    from harness.receiver import Receiver


def data_url(content: str, mime: str = "text/plain") -> str:
    return f"data:{mime};base64,{base64.b64encode(content.encode()).decode()}"


def files(request: Received) -> Reply:
    if request.path.startswith("/missing"):
        return Reply(404)
    if request.path.startswith("/moved"):
        return Reply(302, {"Location": "/found.txt"})
    return Reply(body=b"content of " + request.path.encode())


def test_case_36_data_url(shared: Serve) -> None:
    kind, name, content = shared("inputs.py:OneFile").output(path=data_url("some text")).split(" ", 2)
    assert kind == "Path"
    assert name.endswith("file.txt")
    assert content == "some text"


def test_case_36_optional_path(shared: Serve) -> None:
    server = shared("inputs.py:OptionalFile")
    assert server.output() == "None"
    assert server.output(path=data_url("some text")) == "some text"


def test_case_36_list_of_paths(shared: Serve) -> None:
    server = shared("inputs.py:Files")
    assert server.output(paths=[data_url("one"), data_url("two")]) == ["one", "two"]


def test_case_36_input_files_are_removed(serve: Serve) -> None:
    server = serve("inputs.py:FileName")
    path = server.output(path=data_url("some text"))
    from pathlib import Path

    eventually("the removal of the input file", lambda: not Path(path).exists(), 5)


def test_case_37_file(shared: Serve) -> None:
    server = shared("inputs.py:LegacyFile")
    assert server.output(file=data_url("some bytes")) == "b'some bytes'"
    assert server.output() == "None"


def test_case_37_file_from_the_network(shared: Serve, receive: Callable[..., Receiver]) -> None:
    url = receive(files).url("/found.txt")
    assert shared("inputs.py:LegacyFile").output(file=url) == "b'content of /found.txt'"


def test_case_38_text_that_looks_like_a_url(shared: Serve) -> None:
    server = shared("inputs.py:Text")
    given = ["https://example.invalid/a.png", "data:text/plain;base64,QQ=="]
    assert server.output(s=given[0], several=given) == " ".join(f"str:{text}" for text in [given[0], *given])


def test_case_38_local_path(shared: Serve) -> None:
    assert shared("inputs.py:FileName").output(path="some/local.txt") == "some/local.txt"


def test_case_39_url(shared: Serve, receive: Callable[..., Receiver]) -> None:
    receiver = receive(files)
    server = shared("inputs.py:OneFile")
    _, name, content = server.output(path=receiver.url("/some/image.jpg?size=large")).split(" ", 2)
    assert name.endswith("image.jpg")
    assert content.startswith("content of /some/image.jpg")
    assert server.output(path=receiver.url("/moved")).endswith("content of /found.txt")
    assert re.search(r"a b\.txt ", server.output(path=receiver.url("/a%20b.txt")))


def test_case_39_url_that_does_not_answer(shared: Serve, receive: Callable[..., Receiver]) -> None:
    error = shared("inputs.py:OneFile").failure(path=receive(files).url("/missing.txt"))
    assert "404" in error
    assert "/missing.txt" in error


def test_case_39_user_agent(serve: Serve, receive: Callable[..., Receiver]) -> None:
    receiver = receive(files)
    server = serve("inputs.py:OneFile", env={"COG_USER_AGENT": "conformance/1"})
    server.output(path=receiver.url("/found.txt"))
    assert receiver.requests[0].headers["User-Agent"] == "conformance/1"


def test_section_17_list_of_urls_and_paths(shared: Serve) -> None:
    server = shared("inputs.py:MixedFiles")
    assert server.output(paths=["local.txt", data_url("one")]) == ["local.txt", "file:one"]


def test_case_40_secrets(shared: Serve) -> None:
    server = shared("inputs.py:Secrets")
    assert server.output(key="k", plain="p") == "Secret ********** k str None"
    assert server.output(key="k", plain="p", other="o") == "Secret ********** k str o"
