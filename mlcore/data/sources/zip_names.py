"""How the names in a zip archive are written: what each entry says of it, and a guess where it says nothing."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable

LOOKED_AT = 500  # names that tell the code page of all
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
UTF_8_FLAG = 0x800
UNICODE_PATH = 0x7075  # the extra field of Info-ZIP with the name in UTF-8
CODE_PAGES = {
    "utf-8": "Unicode (UTF-8)",
    "cp437": "DOS, English (437)",
    "cp850": "DOS, Western Europe (850)",
    "cp1252": "Windows, Western Europe (1252)",
    "cp852": "DOS, Central Europe (852)",
    "cp1250": "Windows, Central Europe (1250)",
    "cp866": "DOS, Cyrillic (866)",
    "cp1251": "Windows, Cyrillic (1251)",
    "cp932": "Japanese (Shift JIS)",
    "gbk": "Chinese, simplified (GBK)",
    "big5": "Chinese, traditional (Big5)",
    "cp949": "Korean (949)",
}
LATIN = frozenset("àâäáãåæçèéêëìíîïñòóôöõøœùúûüýÿßÀÁÂÄÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØÙÚÛÜ")
CENTRAL = LATIN | frozenset("ąćęłńśźżĄĆĘŁŃŚŹŻčďěňřšťůžČĎĚŇŘŠŤŮŽőűŐŰășțşţ")
KOREAN = frozenset(
    "가각간감강개거건걸검것게겨결경계고곡곤공과관광교구국군권귀그극근글금급기길김까꽃나낙난날남내너네노농누눈는늘능니"
    "님다단달담당대더덕도독돌동되된두드든들등디따때또라락란람랑래량러런럼레려력련령로록론료루류륙률르른를름리린림립"
    "마막만말망매머먹면명모목못무문물미민바박반발밤방배백버번벌법베벽변별병보복본봄부북분불비빈빛빨뿔사산살삼상새색생"
    "서석선설성세소속손송쇠수순술숲스습승시식신실심싱씨아악안알암애야약양어언얼엄업없에여역연열염영예오온올와완왕외"
    "요용우운울원월위유육윤은을음응의이인일임입있자작잔잠장재저적전절점정제조족존종좌주죽준중즈증지직진질집쪽차참창채"
    "책처천철청체초총최추축출충치친칠침카코콩크큰키타탄태터토통투트특파판팔패페편평포표품풍프피필하학한할함항해행향허"
    "헌험현혈협형혜호혹화확환활황회효후훈휴희흰히힘개고양이강아지사과사진고래토끼호랑이새말곰"
)
LATIN_PAGES = ("cp437", "cp850", "cp1252", "cp852", "cp1250")
LEVEL_1 = {"gbk": (0xB0, 0xD7), "big5": (0xA4, 0xC6), "cp932": (0x88, 0x97)}  # first bytes of the usual characters


def raw_name(entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry's name, as the archive's list has them."""
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & UTF_8_FLAG else "cp437")


def stated_name(entry: zipfile.ZipInfo) -> str | None:
    """The name where the archive says how it is written, or it is plain ASCII; else None."""
    if entry.flag_bits & UTF_8_FLAG or entry.orig_filename.isascii():
        return entry.orig_filename
    return unicode_path(entry)


def unicode_path(entry: zipfile.ZipInfo) -> str | None:
    """The name of Info-ZIP's extra field, if it belongs to this entry."""
    extra = entry.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and len(field) > 5 and field[1:5] == struct.pack("<I", zlib.crc32(raw_name(entry))):
            try:
                return field[5:].decode()
            except UnicodeDecodeError:
                return None
    return None


def guess_code_page(names: Iterable[bytes]) -> str:
    """The code page that makes the most sensible words of these names; UTF-8 wherever they are that.

    Made for names that are not all ASCII. Of several that fit as well, the first of CODE_PAGES.
    """
    names = list(names)
    pages = fitting_code_pages(names)
    if "utf-8" in pages:
        return "utf-8"
    some = b"\n".join(names[:: len(names) // LOOKED_AT + 1])
    return max(pages, key=lambda page: plausibility(some, page), default="cp437")


def fitting_code_pages(names: Iterable[bytes]) -> list[str]:
    """Those in which all of these names can be read."""
    joined = b"\n".join(names)
    return [page for page in CODE_PAGES if decode_name(joined, page) is not None]


def decode_name(data: bytes, page: str) -> str | None:
    """None where these bytes are nothing in this code page, or a control character."""
    try:
        text = data.decode(page)
    except UnicodeDecodeError:
        return None
    return None if CONTROL.search(text) else text


def plausibility(data: bytes, page: str) -> float:
    """What share of the letters beyond ASCII are usual ones in usual company; -1 where they cannot be read."""
    text = decode_name(data, page)
    if text is None:
        return -1.0
    places = [place for place, letter in enumerate(text) if not letter.isascii()]
    return sum(sense_at(text, place, page) for place in places) / len(places)


def sense_at(text: str, place: int, page: str) -> float:
    """How usual a letter is in the writing of a code page, beside the letters next to it."""
    letter, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    beside_latin = any(other.isascii() and other.isalpha() for other in (before, after))
    turned = letter.isupper() and before.islower()
    if page in LATIN_PAGES:
        usual = CENTRAL if page in ("cp852", "cp1250") else LATIN
        foreign = sum(not other.isascii() for other in (before, after))
        company = 0.2 if turned or foreign == 2 else 0.8 if foreign or letter.isupper() else 1.0
        return 0.0 if letter not in usual else company * (0.95 if usual is CENTRAL else 1.0)
    if beside_latin:
        return 0.1
    if page in ("cp866", "cp1251"):
        cyrillic = "а" <= letter.lower() <= "я" or letter in "ёЁіїєІЇЄ"
        return 0.0 if not cyrillic else 0.2 if turned else 0.9 if letter.isupper() else 1.0
    if page == "cp949":
        return 1.3 if letter in KOREAN else 0.3 if "가" <= letter <= "힣" else 0.0
    if page == "cp932" and ("ぁ" <= letter <= "ん" or "ァ" <= letter <= "ー"):
        return 1.0
    first, last = LEVEL_1[page]
    lead = letter.encode(page, "replace")
    return 1.0 if len(lead) == 2 and first <= lead[0] <= last and "一" <= letter <= "鿿" else 0.0
