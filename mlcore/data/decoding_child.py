"""The process that decodes images, and does nothing else: `python -m mlcore.data.decoding_child`, from `decoders`.

Bytes of images come in on standard input and squares of pixels go out on standard output. It opens no file, and as far
as the system has such limits it can write none, open few and take 2 GB of memory; where there are none (Windows) it
works without them. It ends when its input does, that is with whoever started it, and a while after the time it was
given for an answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlcore.data.decoding import DecodedImage, decode, decoder_message, open_image
from mlcore.data.pipe_messages import read_head, read_whole, write_frame

MEMORY = 2 * 2**30  # bytes of addresses
FILES = 16
LATER_S = 3.0  # beyond the time for an answer, after which whoever asked is surely gone
NO_MEMORY = "It takes more memory than there is."


def main() -> int:
    pipe_in = open(os.dup(0), "rb", buffering=0)  # noqa: SIM115 (for as long as the process lives)
    pipe_out = open(os.dup(1), "wb", buffering=2**20)  # noqa: SIM115
    warm_up()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # what a decoder prints is no answer
    os.dup2(nothing, 2)
    write_frame(pipe_out, {"limits": limit_myself(), "pid": os.getpid()})
    pipe_out.flush()
    while True:
        try:
            asked = read_head(pipe_in)
            images = [bytes(read_whole(pipe_in, length)) for length, _ in asked["images"]]
        except EOFError:
            return 0
        with a_time_limit(asked["seconds"] + LATER_S):
            answers = [decode_request(data, asked, box) for data, (_, box) in zip(images, asked["images"], strict=True)]
        parts = [reply.pixels.data for reply in answers if isinstance(reply, DecodedImage)]
        write_frame(pipe_out, [in_json(reply) for reply in answers], parts)
        pipe_out.flush()


def decode_request(data: bytes, asked: dict[str, Any], box: list[int] | None) -> DecodedImage | tuple[int, int] | str:
    """What was asked of an image, or the reason why there is none as a sentence."""
    try:
        if asked["do"] == "size":
            return open_image(data).size
        if box is None:
            return decode(data, asked["side"], asked["fit"])
        left, top, right, bottom = box
        return decode(data, asked["side"], asked["fit"], (left, top, right, bottom))
    except ValueError as error:
        return str(error)
    except MemoryError:
        return NO_MEMORY
    except Exception as error:  # on bytes that were made to break a decoder
        return f"It cannot be decoded; it may be damaged or cut off ({decoder_message(error)})."


def in_json(reply: DecodedImage | tuple[int, int] | str) -> list[object] | tuple[int, int] | str:
    if isinstance(reply, DecodedImage):
        channels = reply.pixels.shape[2]
        return [reply.width, reply.height, reply.mode, reply.hash, channels, list(reply.remarks)]
    return reply


def warm_up() -> None:
    """Have read from the disk, before there are limits, what the first image would need."""
    from PIL import BmpImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401


def limit_myself() -> dict[str, int]:
    """What the limits are, by their names; none where the system knows none."""
    with contextlib.suppress(OSError):  # Linux: the first to go where the machine has no memory left
        Path("/proc/self/oom_score_adj").write_text("500")
    try:
        import resource
    except ImportError:
        return {}
    wanted = {"RLIMIT_AS": MEMORY, "RLIMIT_NOFILE": FILES, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    for name, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # a lower one that is there already stays
            resource.setrlimit(getattr(resource, name), (value, value))
    return {name: resource.getrlimit(getattr(resource, name))[0] for name in wanted}


@contextlib.contextmanager
def a_time_limit(seconds: float) -> Iterator[None]:
    """The system ends this process after so long, whatever it does then: one that hangs sees no end of its input."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main())
