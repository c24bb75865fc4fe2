"""One image file: every kind that is taken, every kind that is not."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import image_bytes, picture, png_of_size
from PIL import Image
from scipy.fft import dctn

from mlcore.data.decoding import (
    BOX_CUT,
    BRIGHTER,
    DAMAGED_EXIF,
    ON_BLACK,
    ONE_COLOUR,
    UNCOVERED,
    decode,
    perceptual_hash,
)


def flat(size=(8, 8), mode="RGB", colour=(200, 30, 40)):
    return Image.new("RGB", size, colour).convert(mode)


def test_an_image_of_the_right_size_is_kept_bit_for_bit():
    image = picture(1, (32, 32))
    assert np.array_equal(decode(image_bytes(image), 32).pixels, np.asarray(image))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_the_common_kinds_are_read(kind):
    done = decode(image_bytes(flat(), kind), 8)
    assert done.pixels.shape == (8, 8, 3)
    assert np.abs(done.pixels.astype(int) - (200, 30, 40)).max() <= 8
    assert (done.width, done.height) == (8, 8)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "ICO", "PPM", "TGA", "PDF", "EPS"])
def test_other_kinds_are_refused_whatever_they_are_called(kind):
    with pytest.raises(ValueError, match="no image that can be read"):
        decode(image_bytes(flat((16, 16)), kind), 8)


@pytest.mark.parametrize(
    "data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"SIMPLE  =" + b" " * 3000, b"8BPS" + b"\0" * 60]
)
def test_drawings_and_rare_kinds_are_refused(data):
    with pytest.raises(ValueError, match="no image"):
        decode(data, 8)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("I;16", 1)]
)
def test_every_mode_of_a_png(mode, channels):
    image = Image.fromarray(np.full((8, 8), 40_000, np.uint16)) if mode == "I;16" else flat(mode=mode)
    done = decode(image_bytes(image), 8)
    assert done.pixels.shape == (8, 8, channels)
    assert done.pixels.dtype == np.uint8


def test_sixteen_bits_keep_their_upper_eight():
    image = Image.fromarray(np.full((8, 8), 257 * 99, np.uint16))
    assert (decode(image_bytes(image), 8).pixels == 99).all()


def test_print_colours_become_screen_colours():
    done = decode(image_bytes(flat().convert("CMYK"), "JPEG"), 8)
    assert np.abs(done.pixels.astype(int) - (200, 30, 40)).max() <= 12


def test_what_is_transparent_becomes_white():
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (decode(image_bytes(image), 8).pixels == 255).all()
    palette = flat().quantize(2)
    assert (decode(image_bytes(palette, transparency=palette.getpixel((0, 0))), 8).pixels == 255).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_come_upright(turn):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = (255, 0, 0)
    upright[:10, 15:] = (0, 255, 0)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes each turn, in Pillow's numbers
    stored = Image.fromarray(upright)
    if turn in back:
        stored = stored.transpose(Image.Transpose(back[turn]))
    exif = Image.Exif()
    exif[0x0112] = turn
    done = decode(image_bytes(stored, "PNG", exif=exif), 20, "pad")
    assert (done.width, done.height) == (30, 20)
    middle = done.pixels[3:17].astype(int)
    assert middle[2, 2, 0] > 200
    assert middle[2, -3, 1] > 200
    assert middle[-3].max() < 60


TURN = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
LONG = struct.pack(">HHII", 0x10F, 2, 400, 0xFF00)  # text that would lie behind the end


def exif_of(*entries, whole=True):
    data = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return data if whole else data[:20]


@pytest.mark.filterwarnings("ignore:.*EXIF data", "ignore:Tag data larger")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("exif", "turned", "damaged"),
    [
        (exif_of(TURN), True, False),
        (exif_of(TURN, LONG), True, False),
        (exif_of(struct.pack(">HHIHH", 0x112, 3, 1, 0, 0)), False, False),
        (exif_of(struct.pack(">HHIHH", 0x112, 3, 1, 77, 0)), False, True),
        (exif_of(LONG), False, True),
        (exif_of(TURN, whole=False), False, True),
        (b"Exif\0\0MM\0*" + b"\xff" * 40, False, True),
        (b"Exif\0\0" + b"\xff" * 40, False, True),
        (b"", False, False),
    ],
)
def test_damaged_exif_is_no_reason_to_leave_an_image_out_and_is_told(kind, exif, turned, damaged):
    done = decode(image_bytes(picture(1, (20, 30)), kind, **({"exif": exif} if exif else {})), 8)
    assert (done.width, done.height) == ((30, 20) if turned else (20, 30))
    assert (DAMAGED_EXIF in done.remarks) == damaged


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_cut_image_is_refused(kind):
    data = image_bytes(picture(2, (200, 200)), kind)
    for share in (0.02, 0.5, 0.9):
        with pytest.raises(ValueError, match="It "):
            decode(data[: int(len(data) * share)], 8)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9", b"BM" + b"\xff" * 60]
)
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ValueError, match="It "):
        decode(data, 8)


def test_an_image_of_a_billion_pixels_is_refused_by_its_head():
    data = png_of_size(50_000, 50_000)
    tracemalloc.start()
    with pytest.raises(ValueError, match="too many pixels"):
        decode(data, 8)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_the_limit_of_pixels_is_the_limit():
    with pytest.raises(ValueError, match="5,001 x 5,000 px; at most 25,000,000"):
        decode(png_of_size(5001, 5000), 8)
    with pytest.raises(ValueError, match="damaged"):
        decode(png_of_size(5000, 5000), 8)


def test_an_image_of_one_pixel_is_refused():
    with pytest.raises(ValueError, match="at least 2 px"):
        decode(image_bytes(flat((1, 5))), 8)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind):
    frames = [picture(number) for number in range(3)]
    data = image_bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animation"):
        decode(data, 8)


def test_a_photograph_with_another_behind_it_is_the_first():
    data = image_bytes(picture(1, (64, 64)), "MPO", save_all=True, append_images=[flat((64, 64))])
    alone = image_bytes(picture(1, (64, 64)), "JPEG")
    assert np.array_equal(decode(data, 16).pixels, decode(alone, 16).pixels)


def test_a_text_that_unpacks_to_a_lot_is_refused():
    image = image_bytes()
    text = b"zTXtbomb\0\0" + __import__("zlib").compress(b"\0" * 80_000_000)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", __import__("zlib").crc32(text))
    with pytest.raises(ValueError, match="It "):
        decode(image[:33] + chunk + image[33:], 8)


def test_crop_fills_the_square_and_pad_keeps_all():
    wide = Image.new("RGB", (40, 20), "blue")
    wide.paste("red", (0, 0, 10, 20))
    cropped, padded = (decode(image_bytes(wide), 20, fit).pixels for fit in ("crop", "pad"))
    assert (cropped == (0, 0, 255)).all()
    assert (padded[10, 2] == (255, 0, 0)).all()
    assert (padded[10, -2] == (0, 0, 255)).all()
    assert (padded[0] == (255, 0, 0)).all()


def test_a_box_is_cut_out_first():
    image = Image.new("RGB", (40, 40), "blue")
    image.paste("red", (10, 10, 20, 20))
    done = decode(image_bytes(image), 8, box=(10, 10, 20, 20))
    assert (done.pixels == (255, 0, 0)).all()
    assert (done.width, done.height) == (40, 40)
    with pytest.raises(ValueError, match="outside"):
        decode(image_bytes(image), 8, box=(40, 0, 50, 10))
    assert decode(image_bytes(image), 8, box=(30, 30, 100, 100)).pixels.shape == (8, 8, 3)


def test_a_large_photograph_is_decoded_at_a_part_of_its_size_and_says_its_own():
    done = decode(image_bytes(picture(3, (1600, 1200)), "JPEG"), 32)
    assert (done.width, done.height) == (1600, 1200)
    exact = np.asarray(picture(3, (1600, 1200)).crop((200, 0, 1400, 1200)).resize((32, 32), Image.Resampling.LANCZOS))
    assert np.abs(done.pixels.astype(int) - exact).mean() < 4


def test_the_hash_is_that_of_the_cosine_transform():
    grey = picture(4, (32, 32), "L")
    waves = dctn(np.asarray(grey, np.float64), type=2)[:8, :8]
    bits = (waves > np.median(waves)).ravel()
    assert perceptual_hash(grey) == f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"


def test_images_that_look_alike_have_near_hashes():
    image = picture(5, (120, 90))
    file = io.BytesIO()
    image.resize((60, 45)).save(file, "JPEG", quality=40)
    one, other = (int(decode(data, 32).hash, 16) for data in (image_bytes(image), file.getvalue()))
    assert (one ^ other).bit_count() <= 6
    far = int(decode(image_bytes(picture(6, (120, 90))), 32).hash, 16)
    assert (one ^ far).bit_count() >= 16


@settings(max_examples=60)
@given(st.data())
def test_bytes_changed_anywhere_give_an_image_or_a_value_error(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]))
    raw = bytearray(image_bytes(picture(7, (16, 16)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert decode(bytes(raw), 8).pixels.shape[:2] == (8, 8)


def drawn(mode, ground, ink):
    image = Image.new(mode, (16, 16), ground)
    image.paste(ink, (4, 4, 12, 12))
    return image


def remarks(image, **how):
    done = decode(image_bytes(image, **how), 16)
    return done.remarks, int(np.ptp(done.pixels))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_white_on_transparent_is_put_on_black(mode):
    clear, white = ((0, 0, 0, 0), (255, 255, 255, 255)) if mode == "RGBA" else ((0, 0), (255, 255))
    assert remarks(drawn(mode, clear, white)) == ((ON_BLACK,), 255)


def test_white_on_a_transparent_colour_of_a_palette_is_put_on_black():
    image = drawn("P", 0, 1)
    image.putpalette([255, 255, 255, 255, 255, 255])
    assert remarks(image, transparency=0) == ((ON_BLACK,), 255)
    assert remarks(image, transparency=bytes([0, 255])) == ((ON_BLACK,), 255)


@pytest.mark.parametrize(("mode", "key", "ink"), [("RGB", (0, 0, 0), (9, 9, 9)), ("L", 0, 9)])
def test_black_on_a_transparent_colour_that_is_black_can_be_seen(mode, key, ink):
    seen, contrast = remarks(drawn(mode, key, ink), transparency=key)
    assert (seen, contrast) == ((), 246)


def test_an_image_that_is_transparent_all_over_shows_what_is_beneath():
    assert remarks(drawn("RGBA", (10, 200, 10, 0), (200, 10, 10, 0))) == ((UNCOVERED,), 190)


def test_twelve_of_sixteen_bits_are_not_all_black():
    values = np.zeros((16, 16), np.uint16)
    values[:, 8:] = 2000
    assert remarks(Image.fromarray(values))[0] == (BRIGHTER,)
    assert remarks(Image.fromarray(values))[1] >= 200
    assert remarks(Image.fromarray(values * 30)) == ((), 233)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (12, 200, 3)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_one_colour_all_over_is_remarked(colour, kind):
    assert decode(image_bytes(flat(colour=colour), kind), 8).remarks == (ONE_COLOUR,)
    assert decode(image_bytes(picture(1), kind), 8).remarks == ()


def test_a_box_beyond_its_image_is_cut_and_remarked():
    data = image_bytes(picture(1, (20, 20)))
    assert decode(data, 8, box=(10, 10, 500, 20)).remarks == (BOX_CUT,)
    assert decode(data, 8, box=(10, 10, 20, 20)).remarks == ()


def test_a_transparent_colour_of_sixteen_bits_is_no_reason_to_leave_an_image_out():
    raw = bytearray(image_bytes(picture(2, (16, 16))))
    place = raw.index(b"IDAT") - 4
    chunk = b"tRNS" + struct.pack(">HHH", 60_000, 60_000, 60_000)
    raw[place:place] = struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert np.array_equal(decode(bytes(raw), 16).pixels, np.asarray(picture(2, (16, 16))))
