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
DAMAGED_EXIF, BOX_CUT = "damaged EXIF", "box cut"
ON_BLACK, UNCOVERED, BRIGHTER, ONE_COLOUR = "on black", "uncovered", "brighter", "one colour"
REMARKS = (DAMAGED_EXIF, BOX_CUT, ON_BLACK, UNCOVERED, BRIGHTER, ONE_COLOUR)
SEEN = 8  # steps of 256 between the darkest and the brightest, below which nothing is seen of an image
SAME = 2  # and below which it is of one colour
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
Fit = Literal["crop", "pad"]
Box = tuple[int, int, int, int]

warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", message="(Possibly )?corrupt EXIF data|Tag data larger")  # see `read_orientation`


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image as it is stored, and what it was: width and height in px (upright), Pillow's mode.

    `hash` is 16 hex digits that differ in few bits for images that look alike. `remarks` are those of REMARKS that
    hold: EXIF may have said how the image lies and cannot be read; its box goes beyond it; on a white ground nothing
    would be seen; all is transparent and what is beneath is taken; it used few of its 16 bits; it is of one colour all
    over. Shapes: pixels (side, side, C) uint8, C 1 for grey and 3 for colour.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    hash: str
    remarks: tuple[str, ...] = ()


def decode(data: bytes, side: int, fit: Fit = "crop", box: Box | None = None) -> DecodedImage:
    """The image in `data` as a square of `side` px, upright, without transparency, 8 bits a channel.

    "crop" fills the square and cuts what stands out, "pad" keeps all and continues with the top left pixel. What is
    transparent becomes white, or black where nothing would be seen on white; where all of an image is transparent, what
    is beneath is taken. 16 bits of grey keep their upper 8, or as many as they use where nothing would be seen. Of a
    photograph with others behind it (MPO), the first is taken.

    Raises: ValueError, with the reason as a sentence, for anything that is not a whole still image of a common kind;
    MemoryError.
    """
    image = open_image(data)
    mode, (lies, damaged) = image.mode, read_orientation(image)
    width, height = image.size[::-1] if lies in SIDEWAYS else image.size
    if box is None and image.format in JPEGS:
        image.draft(None, (2 * side, 2 * side))
    plain, remarks = load_image(image, lies)
    if box is not None:
        left, top, right, bottom = box
        if left >= width or top >= height:
            raise ValueError(f"Its box {box} lies outside of the image ({width} x {height} px).")
        remarks += [BOX_CUT] * (right > width or bottom > height)
        plain = plain.crop((left, top, min(right, width), min(bottom, height)))
        if min(plain.size) < SMALLEST:
            raise ValueError(f"Its box {box} holds less than {SMALLEST} px.")
    pixels = np.asarray(fit_into_square(plain, side, fit)).reshape(side, side, -1)
    remarks += [DAMAGED_EXIF] * damaged + [ONE_COLOUR] * (value_range(pixels) <= SAME)
    return DecodedImage(pixels, width, height, mode, perceptual_hash(plain), tuple(sorted(remarks, key=REMARKS.index)))


def open_image(data: bytes) -> Image.Image:
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
        raise ValueError(f"It cannot be decoded; it may be damaged or cut off ({decoder_message(error)}).") from None
    width, height = image.size
    limit = JPEG_PIXEL_LIMIT if image.format in JPEGS else PIXEL_LIMIT
    if width * height > limit:
        raise ValueError(f"It has {width:,} x {height:,} px; at most {limit:,} together are read.")
    if min(width, height) < SMALLEST:
        raise ValueError(f"It has {width} x {height} px; both sides must be at least {SMALLEST} px.")
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format not in JPEGS:
        raise ValueError(f"It is an animation of {pictures} pictures; save one of them.")
    return image


def read_orientation(image: Image.Image) -> tuple[int, bool]:
    """EXIF's word for how the image lies, 1 (as it is) where it says nothing, and whether damage hides what it says."""
    if "exif" not in image.info:
        return 1, False
    try:
        number = image.getexif().get(0x0112)
    except Exception:  # damaged facts about an image are no reason to leave the image out
        return 1, True
    if number is None:
        return 1, not is_readable_exif(image.info["exif"])
    return (number, False) if number in range(1, 9) else (1, number != 0)


def is_readable_exif(exif: bytes) -> bool:
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


def load_image(image: Image.Image, lies: int = 1) -> tuple[Image.Image, list[str]]:
    """All of the image, decoded, as "L" or "RGB" and upright, with remarks. Raises: ValueError, MemoryError."""
    turn = TURNS.get(lies)
    try:
        image.load()
        plain, remarks = without_modes(image)
        return plain if turn is None else plain.transpose(turn), remarks
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything on bytes that were made to break it
        raise ValueError(f"It is damaged: {decoder_message(error)}.") from None


def without_modes(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The image as "L" or "RGB", and what had to be done for anything to be seen."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return eight_bits(np.asarray(image).clip(0, 65535))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or has_transparent_colour(image):
        return on_a_ground(image.convert("RGBA"), "L" if image.mode in GREY_MODES else "RGB")
    if image.mode in ("L", "RGB"):
        return image, []
    return image.convert("L" if image.mode == "1" else "RGB"), []


def has_transparent_colour(image: Image.Image) -> bool:
    """Whether a colour, or colours of a palette, stand for nothing. One of more than 8 bits names none that is left."""
    colour = image.info.get("transparency")
    if colour is None:
        return False
    values = colour if isinstance(colour, tuple | bytes) else (colour,)
    return all(0 <= value <= 255 for value in values)


def on_a_ground(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    """An "RGBA" image without transparency: on white, or where nothing is seen there, on black or as it is beneath."""
    alpha = image.getchannel("A")
    white = flatten_onto(image, "white", mode)
    if value_range(np.asarray(white)) > SEEN:
        return white, []
    if alpha.getextrema()[1] == 0:
        beneath = image.convert("RGB").convert(mode)
        return (beneath, [UNCOVERED]) if value_range(np.asarray(beneath)) > SEEN else (white, [])
    black = flatten_onto(image, "black", mode)
    return (black, [ON_BLACK]) if value_range(np.asarray(black)) > SEEN else (white, [])


def flatten_onto(image: Image.Image, ground: str, mode: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert(mode)


def eight_bits(values: np.ndarray) -> tuple[Image.Image, list[str]]:
    """16 bits of grey as 8: the upper ones, or the upper ones of those in use where hardly anything would be seen."""
    usual = (values // 257).astype(np.uint8)
    if value_range(usual) > SEEN or value_range(values) == 0:
        return Image.fromarray(usual), []
    in_use = max(8, int(values.max()).bit_length())
    scaled = (values.astype(np.float32) * (255 / (2**in_use - 1))).astype(np.uint8)
    return (
        (Image.fromarray(scaled), [BRIGHTER])
        if value_range(scaled) > value_range(usual)
        else (Image.fromarray(usual), [])
    )


def value_range(pixels: np.ndarray) -> int:
    """How far apart the darkest and the brightest value are, in the channel where that is most."""
    flat = pixels.reshape(-1, pixels.shape[2] if pixels.ndim == 3 else 1)
    return int((flat.max(axis=0).astype(np.int64) - flat.min(axis=0)).max())


def fit_into_square(image: Image.Image, side: int, fit: Fit) -> Image.Image:
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


def decoder_message(error: Exception) -> str:
    """The decoder's own words, in one line."""
    return " ".join((str(error) or type(error).__name__).split())[:200].rstrip(".")
