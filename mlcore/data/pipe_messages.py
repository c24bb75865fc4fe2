"""What the importing process and its decoders say to each other over pipes: frames of JSON with bytes behind it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol

Bytes = bytes | bytearray | memoryview
HEAD_LIMIT = 2**20  # bytes of JSON in a frame
LENGTH = 4  # bytes that say how long the JSON is


class Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Writable(Protocol):
    def write(self, data: memoryview, /) -> int | None: ...


def write_frame(pipe: Writable, head: object, parts: Iterable[Bytes] = ()) -> None:
    """`head` says all that a reader must know of how many bytes are in `parts`."""
    text = json.dumps(head, separators=(",", ":")).encode()
    for data in (len(text).to_bytes(LENGTH), text, *parts):
        write_whole(pipe, data)


def write_whole(pipe: Writable, data: Bytes) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[pipe.write(left) :]


def read_head(pipe: Readable) -> Any:
    """The JSON at the front of a frame. Raises: EOFError at the end, ValueError where there is something else."""
    length = int.from_bytes(read_whole(pipe, LENGTH))
    if length > HEAD_LIMIT:
        raise ValueError(f"A frame's head must have at most {HEAD_LIMIT:,} bytes; this one says {length:,}.")
    try:
        return json.loads(bytes(read_whole(pipe, length)))
    except RecursionError:
        raise ValueError("A frame's head must not be nested that deep.") from None


def read_whole(pipe: Readable, length: int) -> bytearray:
    """Raises: EOFError if fewer bytes come."""
    data = bytearray(length)
    left = memoryview(data)
    while left:
        count = pipe.readinto(left)
        if not count:
            raise EOFError(f"{len(left):,} bytes are missing.")
        left = left[count:]
    return data
