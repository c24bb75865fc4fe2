"""The decoders' process, but for images that end in a word: crash, hang, garbage, lies, memory, spoken."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from mlcore.data import decoding_child

real_decode, real_write = decoding_child.decode, decoding_child.write_frame
wrong: list[str] = []


def decode(data: bytes, *how: Any) -> Any:
    if data.endswith(b"crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.endswith(b"hang"):
        time.sleep(600)
    if data.endswith(b"memory"):
        bytearray(3 * 2**30)
    if data.endswith(b"spoken"):
        print("hello from a library", flush=True)
        os.write(1, b"hello from C\n")
    wrong.extend(word for word in ("garbage", "lies") if data.endswith(word.encode()))
    return real_decode(data, *how)


def write_frame(pipe: Any, head: Any, parts: Any = ()) -> None:
    if "garbage" in wrong:
        pipe.write(b"\xff" * 4000)  # a head of 4 GB, it says
    elif "lies" in wrong:
        real_write(pipe, [[-5, "wide", None, "?", 7, "yes"] for _ in head])
    else:
        real_write(pipe, head, parts)


decoding_child.decode, decoding_child.write_frame = decode, write_frame
sys.exit(decoding_child.main())
