"""From the bytes of an image file, which may come from anybody, to a square of pixels and a perceptual hash."""

from __future__ import annotations

import functools
import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
PIXEL_LIMIT = 25_000_000
JPEGS = ("JPEG", "MPO")  # cameras write MPO: a photograph with a second one, or a map, behind it
JPEG_PIXEL_LIMIT = 60_000_000  # these are decoded at a part of their size where that is enough
SMALLEST = 2  # px, either side
HASH_SIDE = 32
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
Fit = Literal["crop", "pad"]
Box = tuple[int, int, int, int]

warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", message="(Possibly )?corrupt EXIF data|Tag data larger")  # see `orientation`


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image as it is stored, and what it was: width and height in px (upright), Pillow's mode.

    `hash` is 16 hex digits that differ in few bits for images that look alike. `damaged_exif`: EXIF may have said how
    the image lies, and cannot be read. Shapes: pixels (side, side, C) uint8, C 1 for grey and 3 for colour.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    hash: str
    damaged_exif: bool = False


def decode(data: bytes, side: int, fit: Fit = "crop", box: Box | None = None) -> Decoded:
    """The image in `data` as a square of `side` px, upright, without transparency, 8 bits a channel.

    "crop" fills the square and cuts what stands out, "pad" keeps all and continues with the top left pixel. What is
    transparent becomes white. 16 bits of grey keep their upper 8. Of a photograph with others behind it (MPO), the
    first is taken.

    Raises: ValueError, with the reason as a sentence, for anything that is not a whole still image of a common kind;
    MemoryError.
    """
    image = opened(data)
    mode, (lies, damaged) = image.mode, orientation(image)
    width, height = image.size[::-1] if lies in SIDEWAYS else image.size
    if box is None and image.format in JPEGS:
        image.draft(None, (2 * side, 2 * side))
    plain = loaded(image, lies)
    if box is not None:
        left, top, right, bottom = box
        if left >= width or top >= height:
            raise ValueError(f"Its box {box} lies outside of the image ({width} x {height} px).")
        plain = plain.crop((left, top, min(right, width), min(bottom, height)))
        if min(plain.size) < SMALLEST:
            raise ValueError(f"Its box {box} holds less than {SMALLEST} px.")
    pixels = np.asarray(squared(plain, side, fit)).reshape(side, side, -1)
    return Decoded(pixels, width, height, mode, perceptual_hash(plain), damaged)


def opened(data: bytes) -> Image.Image:
    """The image, of which only the head has been read. Raises: ValueError for what is not decoded."""
    if not data:
        raise ValueError("It is empty.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"It is no image that can be read ({', '.join(FORMATS)}), or is damaged.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"It has too many pixels; at most {JPEG_PIXEL_LIMIT:,} are read.") from None
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"It cannot be read: {reason(error)}.") from None
    width, height = image.size
    limit = JPEG_PIXEL_LIMIT if image.format in JPEGS else PIXEL_LIMIT
    if width * height > limit:
        raise ValueError(f"It has {width:,} x {height:,} px; at most {limit:,} together are read.")
    if min(width, height) < SMALLEST:
        raise ValueError(f"It has {width} x {height} px; both sides must be at least {SMALLEST} px.")
    if getattr(image, "n_frames", 1) > 1 and image.format not in JPEGS:
        raise ValueError(f"It is an animation of {image.n_frames} pictures; save one of them.")
    return image


def orientation(image: Image.Image) -> tuple[int, bool]:
    """EXIF's word for how the image lies, 1 (as it is) where it says nothing, and whether damage hides what it says."""
    if "exif" not in image.info:
        return 1, False
    try:
        number = image.getexif().get(0x0112)
    except Exception:  # damaged facts about an image are no reason to leave the image out
        return 1, True
    if number is None:
        return 1, not readable(image.info["exif"])
    return (number, False) if number in range(1, 9) else (1, number != 0)


def readable(exif: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            Image.Exif().load(exif)
        except Exception:
            return False
    return True


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)


def loaded(image: Image.Image, lies: int = 1) -> Image.Image:
    """All of the image, decoded, as "L" or "RGB" and upright. Raises: ValueError, MemoryError."""
    turn = TURNS.get(lies)
    try:
        image.load()
        plain = without_modes(image)
        return plain if turn is None else plain.transpose(turn)
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything on bytes that were made to break it
        raise ValueError(f"It is damaged: {reason(error)}.") from None


def without_modes(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        return Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        flat = Image.alpha_composite(white, rgba)
        return flat.convert("L" if image.mode in GREY_MODES else "RGB")
    return image.convert("RGB")


def squared(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    width, height = image.size
    if fit == "crop":
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        box = (left, top, left + short, top + short)
        return image.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    scale = side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = Image.new(image.mode, (side, side), image.getpixel((0, 0)))
    square.paste(
        image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0), ((side - size[0]) // 2, (side - size[1]) // 2)
    )
    return square


@functools.cache
def low_cosines() -> np.ndarray:
    """(8, 32) float32: the eight slowest cosines of a transform of 32 values, of type II."""
    wave, place = np.mgrid[0:8, 0:HASH_SIDE]
    return np.cos(np.pi * wave * (2 * place + 1) / (2 * HASH_SIDE)).astype(np.float32)


def perceptual_hash(image: Image.Image) -> str:
    """16 hex digits: which of the 8 x 8 slowest waves of the image are stronger than their median.

    The whole image counts, whatever is cut away afterwards. The bits are those of imagehash's `phash`, up to how the
    image is made small, so that hashes of one lab can be compared with each other only.
    """
    small = image.convert("L").resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    cosines = low_cosines()
    waves = cosines @ np.asarray(small, dtype=np.float32) @ cosines.T  # (8, 8)
    ordered = np.sort(waves, axis=None)
    bits = waves > (ordered[31] + ordered[32]) / 2
    return np.packbits(bits).tobytes().hex()


def reason(error: Exception) -> str:
    """The decoder's own words, in one line."""
    return " ".join((str(error) or type(error).__name__).split())[:200].rstrip(".")
