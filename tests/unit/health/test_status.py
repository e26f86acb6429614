"""What is read of an HTTP answer."""

from __future__ import annotations

import pytest

from weft.health.probe import status


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"", 0),
        (b"HTTP/1.1 20", 0),
        (b"HTTP/1.1 204", 0),
        (b"HTTP/1.1 204 No Content\r\n", 204),
        (b"HTTP/1.0 404 Not Found\r\nServer: x\r\n", 404),
        (b"HTTP/1.1 200\r\n", 200),
        (b"HTTP/1.1 200 OK\n", 200),
        (b"HTTP/1.1 100 Continue\r\n", 0),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 0),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n", 503),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 302 Found\r\n", 302),
    ],
)
def test_the_status_of_the_final_answer(said: bytes, found: int) -> None:
    assert status(said) == found


@pytest.mark.parametrize(
    "said", [b"\n", b"220 mail ESMTP\r\n", b"HTTP/2 200\r\n", b"HTTP/1.1 099 x\r\n", b"HTTP/1.1 2000\r\n", b"\xff\n"]
)
def test_what_is_no_http_is_told(said: bytes) -> None:
    with pytest.raises(ValueError):
        status(said)
