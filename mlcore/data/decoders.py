"""Decoding other people's images in processes of their own: what breaks a decoder costs one image, not the import."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NotRequired, Self, TypedDict

import numpy as np

from mlcore.data.decoding import REMARKS, Box, DecodedImage, Fit
from mlcore.data.pipe_messages import read_head, read_whole, write_frame
from mlcore.environment import PROJECT, TO_START, child_environment

CHILD = (sys.executable, "-P", "-m", "mlcore.data.decoding_child")
MOST = 8  # processes; each takes some 45 MB beside the image it has
LIMIT_S = 20.0
START_S = 60.0
PIPE = 2**20  # bytes under way
ENDED = "Decoding it ended the decoder, perhaps for want of memory."
CLOSED = "import: its decoders are closed."
NONSENSE = "Its decoder gave an answer that makes no sense."
HASH = re.compile("[0-9a-f]{16}")
MODE = re.compile("[A-Za-z0-9;]{1,16}")
REASON_LIMIT = 1000

Image = tuple[bytes, Box | None]


class Request(TypedDict):
    """What is asked of a decoder, of each of some images: to decode it to a square of `side`, or its size."""

    do: Literal["decode", "size"]
    side: NotRequired[int]
    fit: NotRequired[Fit]


class DecoderEnded(Exception):
    """A decoder ended, was ended, or says what it should not; why, as a sentence about the image it had."""


class Decoders:
    """A few processes that decode, each started when it is first needed and replaced when it breaks.

    May be called from several threads, each of which waits for a free process. Closing ends all processes at once,
    and whoever waits then gets a ValueError. The processes also end with this one, however it ends. `command` is for
    tests.

    Raises, when first asked: ValueError if no process can be started.
    """

    def __init__(self, count: int | None = None, *, command: Sequence[str] = CHILD, limit_s: float = LIMIT_S) -> None:
        self.count = count or min(MOST, os.cpu_count() or 1)
        self.command, self.limit_s = list(command), limit_s
        self.closed = False
        self.children: set[Child] = set()
        self._lock = threading.Lock()
        self._free: queue.LifoQueue[Child | None] = queue.LifoQueue()  # those that run are on top
        for _ in range(self.count):
            self._free.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, images: Sequence[Image], side: int, fit: Fit) -> list[DecodedImage | str]:
        """Each image as `decoding.decode` has it, or why there is none.

        Where a process breaks or takes longer than `limit_s`, its images are tried again one by one.
        """
        return self._ask({"do": "decode", "side": side, "fit": fit}, images)

    def sizes(self, images: Sequence[Image]) -> list[tuple[int, int] | str]:
        """Each image's width and height as its file has them, or why it is none."""
        return self._ask({"do": "size"}, images)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            for child in self.children:
                child.process.kill()
        places = [self._free.get() for _ in range(self.count)]  # whoever used one has seen its end
        for place in places:
            self._gone(place)
            self._free.put(None)

    def _ask(self, request: Request, images: Sequence[Image]) -> list[Any]:
        child = self._free.get()
        try:
            if child is None or self.closed:
                child = self._started(child)
            return child.ask(request, images, self.limit_s)
        except BaseException as error:
            self._gone(child)
            child = None
            if self.closed:
                raise ValueError(CLOSED) from None
            if not isinstance(error, DecoderEnded):
                raise
            if len(images) == 1:
                return [str(error)]
        finally:
            self._free.put(child)
        return [self._ask(request, [image])[0] for image in images]

    def _started(self, stale: Child | None) -> Child:
        self._gone(stale)
        child = Child(self.command)
        with self._lock:
            self.children.add(child)
            if self.closed:
                child.process.kill()
        try:
            child.wait_ready()
        except BaseException:
            self._gone(child)
            raise
        return child

    def _gone(self, child: Child | None) -> None:
        if child is not None:
            child.end()
            with self._lock:
                self.children.discard(child)


class Child:
    """One such process; `limits` is what it says of its own.

    Raises: ValueError if it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.limits: dict[str, int] = {}
        self.late = False
        self.words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        try:
            self.process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.words,
                cwd=PROJECT,
                env=child_environment(TO_START) | {"OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for us, who end it
            )
        except OSError as error:
            self.words.close()
            raise ValueError(f"import: no process that decodes images can be started: {error}.") from None
        assert isinstance(self.process.stdin, io.FileIO)
        assert isinstance(self.process.stdout, io.FileIO)
        self.to_child, self.from_child = self.process.stdin, self.process.stdout
        widen_pipes(self.to_child, self.from_child)

    def wait_ready(self) -> None:
        try:
            with self.at_most(START_S):
                self.limits = read_head(self.from_child)["limits"]
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            last = self.last_words()
            raise ValueError(f"import: the process that decodes images does not start: {last}") from None

    def ask(self, request: Request, images: Sequence[Image], limit_s: float) -> list[Any]:
        """Raises: Ended. The process is of no use then."""
        stated = [(len(data), box) for data, box in images]
        try:
            with self.at_most(limit_s):
                parts = (data for data, _ in images)
                write_frame(self.to_child, {**request, "images": stated, "seconds": limit_s}, parts)
                said = read_head(self.from_child)
                check = check_size if request["do"] == "size" else lambda fact: self.decoded(fact, request["side"])
                if not isinstance(said, list) or len(said) != len(images):
                    raise ValueError("an answer for each image")
                return [fact[:REASON_LIMIT] if isinstance(fact, str) else check(fact) for fact in said]
        except (OSError, EOFError):
            raise DecoderEnded(f"Decoding it took longer than {limit_s:g} s." if self.late else ENDED) from None
        except (ValueError, TypeError):
            raise DecoderEnded(NONSENSE) from None

    def decoded(self, fact: Any, side: int) -> DecodedImage:
        """An image whose pixels come next. Raises: ValueError, TypeError for facts that cannot be."""
        width, height, mode, look, channels, remarks = fact
        sound = isinstance(width, int) and isinstance(height, int) and 0 < width < 2**31 and 0 < height < 2**31
        sound = sound and isinstance(remarks, list) and set(remarks) <= set(REMARKS)
        if not (sound and MODE.fullmatch(mode) and HASH.fullmatch(look) and channels in (1, 3)):
            raise ValueError("width, height, mode, hash, channels, remarks")
        pixels = np.frombuffer(read_whole(self.from_child, side * side * channels), np.uint8)
        return DecodedImage(pixels.reshape(side, side, channels), width, height, mode, look, tuple(remarks))

    @contextlib.contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """End the process where this takes longer, so that whoever reads from it sees an end."""
        timer = threading.Timer(seconds, self.expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def expire(self) -> None:
        self.late = True
        self.process.kill()

    def end(self) -> None:
        """Now. It holds nothing that anybody needs."""
        self.process.kill()
        self.process.wait()
        for file in (self.to_child, self.from_child, self.words):
            with contextlib.suppress(OSError):
                file.close()

    def last_words(self) -> str:
        self.process.kill()
        code = self.process.wait()
        self.words.seek(0)
        lines = self.words.read(2**20).decode("utf-8", "replace").split("\n")
        spoken = [line.strip() for line in lines if line.strip()]
        return spoken[-1][:300] if spoken else f"it ended with code {code} and without a word."


def check_size(fact: Any) -> tuple[int, int]:
    width, height = fact
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise ValueError("width, height")
    return width, height


def widen_pipes(*pipes: io.FileIO) -> None:
    """Let more be under way, where the system can: fewer turns between two processes."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        for pipe in pipes:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
