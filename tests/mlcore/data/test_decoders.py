"""Decoding in processes of their own: limits, broken decoders, and that none outlives the import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from image_files import STUB, image_bytes, picture
from patience import PATIENCE_S, has_ended, until

from mlcore.data import decoders as parent
from mlcore.data.decoders import CHILD, ENDED, NONSENSE, Child, DecoderEnded, Decoders
from mlcore.data.decoding import DecodedImage, decode
from mlcore.data.decoding_child import FILES, MEMORY, NO_MEMORY, decode_request

GOOD = image_bytes(picture(1))


def odd(word):
    return GOOD + word.encode()


@pytest.fixture
def stub():
    with Decoders(1, command=STUB) as made:
        yield made


def same(one, other):
    facts = [(each.width, each.height, each.mode, each.hash, each.remarks) for each in (one, other)]
    return facts[0] == facts[1] and np.array_equal(one.pixels, other.pixels)


def test_a_process_decodes_as_this_one_would():
    files = [image_bytes(picture(n, mode=mode)) for n, mode in enumerate(["RGB", "L", "RGBA", "P"])]
    boxes = [None, None, (1, 2, 20, 21), None]
    with Decoders(1) as made:
        done = made.decode([*zip(files, boxes, strict=True), (b"no image", None)], 16, "pad")
        assert made.sizes([(files[0], None), (b"", None)]) == [(24, 24), "It is empty."]
    assert all(same(one, decode(data, 16, "pad", box)) for one, data, box in zip(done, files, boxes, strict=False))
    assert "no image" in done[4]


def test_nothing_asked_is_nothing_answered():
    with Decoders(1) as made:
        assert made.decode([], 16, "crop") == []


@pytest.mark.parametrize(
    ("word", "why"), [("crash", ENDED), ("garbage", NONSENSE), ("lies", NONSENSE), ("memory", NO_MEMORY)]
)
def test_only_the_image_that_does_it_is_left_out(stub, word, why):
    first, second, third = stub.decode([(GOOD, None), (odd(word), None), (GOOD, None)], 24, "crop")
    assert second == why
    assert same(first, third)
    assert same(first, decode(GOOD, 24))


def test_an_image_that_takes_too_long_is_left_out():
    with Decoders(1, command=STUB, limit_s=2.0) as made:
        slow, good = made.decode([(odd("hang"), None), (GOOD, None)], 24, "crop")
    assert slow == "Decoding it took longer than 2 s."
    assert isinstance(good, DecodedImage)


def test_what_a_decoder_prints_is_no_answer(stub):
    (done,) = stub.decode([(odd("spoken"), None)], 24, "crop")
    assert isinstance(done, DecodedImage)


def test_a_decoder_that_breaks_in_its_own_way_is_only_one_image(monkeypatch):
    from PIL import PngImagePlugin

    asked = {"do": "decode", "side": 24, "fit": "crop"}
    for error, why in ((RecursionError("deep inside"), "It is damaged: deep inside."), (MemoryError(), NO_MEMORY)):

        def breaks(self, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(PngImagePlugin.PngImageFile, "load_prepare", breaks)
            assert decode_request(GOOD, asked, None) == why


@pytest.mark.skipif(os.name != "posix", reason="rlimits are of POSIX")
def test_a_process_has_limits_and_nothing_of_ours_in_its_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with Decoders(1) as made:
        made.decode([(GOOD, None)], 8, "crop")
        (child,) = made.children
        assert child.limits["RLIMIT_AS"] <= MEMORY
        assert child.limits["RLIMIT_NOFILE"] <= FILES
        assert child.limits["RLIMIT_FSIZE"] == child.limits["RLIMIT_CORE"] == 0
        assert "AWS_SECRET_ACCESS_KEY" not in psutil.Process(child.process.pid).environ()


def test_a_process_loads_nothing_heavy():
    code = "import sys, mlcore.data.decoding_child; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not any(f"'{name}'" in done.stdout for name in ("torch", "pandas", "pyarrow", "sklearn", "scipy"))


def test_processes_start_when_needed_and_no_more_than_that():
    with Decoders(3) as made:
        assert not made.children
        made.decode([(GOOD, None)], 8, "crop")
        made.decode([(GOOD, None)], 8, "crop")
        assert len(made.children) == 1
        threads = [threading.Thread(target=made.decode, args=([(GOOD, None)] * 50, 64, "crop")) for _ in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made.children) <= 3
        pids = [child.process.pid for child in made.children]
    until(lambda: all(has_ended(pid) for pid in pids))
    assert not made.children


def test_closing_ends_who_hangs_and_whoever_waits_is_told():
    made = Decoders(1, command=STUB, limit_s=PATIENCE_S)
    told = []

    def wait():
        with pytest.raises(ValueError, match="closed"):
            made.decode([(odd("hang"), None)], 24, "crop")
        told.append(True)

    made.decode([(GOOD, None)], 24, "crop")
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    made.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert told == [True] * 3


@pytest.mark.parametrize("word", ["", "hang"])
def test_a_process_does_not_outlive_one_that_was_killed(word):
    """One that hangs ends a while after the time it was given."""
    code = (
        "import sys, threading, time\n"
        "from mlcore.data.decoders import Decoders\n"
        "made = Decoders(1, command=sys.argv[2:], limit_s=0.5 if sys.argv[1] else 20)\n"
        "from mlcore.data import decoders\n"
        "decoders.Child.expire = lambda self: None\n"
        "made.decode([(b'', None)], 8, 'crop')\n"
        "print(next(iter(made.children)).process.pid, flush=True)\n"
        "made.decode([(sys.argv[1].encode(), None)], 8, 'crop')\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, word, *(STUB if word else CHILD)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=parent.PROJECT)
    pid = int(process.stdout.readline())
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    until(lambda: has_ended(pid))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/no/such/program"], "can be started: "),
        ([sys.executable, "-c", "import no_such_module"], "No module named 'no_such_module'"),
        ([sys.executable, "-c", "pass"], "without a word"),
        ([sys.executable, "-c", "print('I am something else')"], "does not start"),
    ],
)
def test_where_no_process_can_be_started_that_is_said(command, why):
    with Decoders(1, command=command) as made, pytest.raises(ValueError, match=why):
        made.decode([(GOOD, None)], 8, "crop")
    assert not made.children


def test_a_process_that_ended_while_it_was_idle_is_replaced():
    with Decoders(1) as made:
        made.decode([(GOOD, None)], 8, "crop")
        (child,) = made.children
        child.process.kill()
        child.process.wait()
        assert isinstance(made.decode([(GOOD, None)] * 2, 8, "crop")[1], DecodedImage)


@pytest.mark.parametrize(
    "fact",
    [
        None,
        [],
        [24, 24, "RGB", "0" * 16, 3],
        [24, 0, "RGB", "0" * 16, 3, False],
        [24.0, 24, "RGB", "0" * 16, 3, False],
        [2**40, 24, "RGB", "0" * 16, 3, False],
        [24, 24, "<b>", "0" * 16, 3, False],
        [24, 24, "RGB", "0" * 15, 3, False],
        [24, 24, 7, "0" * 16, 3, False],
        [24, 24, "RGB", "0" * 16, 4, False],
    ],
)
def test_facts_that_cannot_be_are_refused(fact, monkeypatch):
    child = Child([sys.executable, "-c", "import sys; sys.stdin.read()"])
    monkeypatch.setattr(parent, "read_head", lambda _: [fact])
    try:
        with pytest.raises(DecoderEnded, match="no sense"):
            child.ask({"do": "decode", "side": 8, "fit": "crop"}, [(b"", None)], 20)
    finally:
        child.end()
