"""Rebuild `glyphs/` and `emoji/` from packages of PyPI and npm.

    python sample_data/build.py [--into FOLDER] [--packages FOLDER]

`--packages` is a folder that already holds the six downloaded packages; without it they are fetched with the
ordinary clients, `pip download` and `npm pack`, into a temporary folder. Glyphs come out bit for bit the same only
with the same Pillow and FreeType, so what is committed is what counts. Needs Pillow.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import string
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT_PACKAGES = ("font-roboto==0.0.1", "font-source-sans-pro==0.0.1", "font-source-serif-pro==0.0.1")
EMOJI_PACKAGES = {"Noto": "emoji-datasource-google@16.0.0", "Twemoji": "emoji-datasource-twitter@16.0.0"}
NAMES_PACKAGE = "emojibase-data@16.0.3"

GLYPH_SIDE, FONT_SIZE, BASELINE = 40, 30, 29  # px
EMOJI_SIDE = 48  # px
TONES = ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")
TONE_NAMES = ("yellow", "light", "medium-light", "medium", "medium-dark", "dark")

NOT_FOR_A_CLASSROOM = {
    "middle_finger",
    "the_horns",
    "pinching_hand",
    "ninja",
    "bath",
    "person_in_steamy_room",
    "breast-feeding",
}
# Drawn so like another class that only a caption tells them apart.
NEAR_COPIES = {
    "adult",
    "child",
    "older_adult",
    "bearded_person",
    "mx_claus",
    "pregnant_man",
    "pregnant_person",
    "person_with_crown",
    "man_in_business_suit_levitating",
    "white_haired_person",
    "red_haired_person",
    "curly_haired_person",
}
TONES_ALIKE = {"snowboarder"}  # Noto draws all six the same

RENAMED = {
    "person: bald": "bald person",
    "left pointing backhand index": "hand pointing left",
    "right pointing backhand index": "hand pointing right",
    "up pointing backhand index": "hand pointing up",
    "down pointing backhand index": "hand pointing down",
    "up pointing index": "index finger pointing up",
    "face with no good gesture": "person crossing arms",
    "face with ok gesture": "person making an ok circle",
    "happy person raising one hand": "person raising hand",
    "raised hand with part between middle and ring fingers": "vulcan salute",
    "sleeping accommodation": "person in bed",
    "fisted hand": "oncoming fist",
    "face massage": "person getting massage",
    "haircut": "person getting haircut",
    "pedestrian": "person walking",
    "rowboat": "person rowing",
    "dancer": "woman dancing",
    "guardsman": "guard",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="where glyphs/ and emoji/ are written")
    parser.add_argument("--packages", type=Path, help="folder with the downloaded packages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        packages = arguments.packages or fetch(Path(scratch, "packages"))
        unpacked = unpack(packages, Path(scratch, "unpacked"))
        build_glyphs(unpacked, arguments.into / "glyphs")
        build_emoji(unpacked, arguments.into / "emoji")


def fetch(folder: Path) -> Path:
    """Download the packages with pip and npm."""
    folder.mkdir()
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--dest", str(folder)]
    subprocess.run([*pip, *FONT_PACKAGES], check=True)
    subprocess.run(
        ["npm", "pack", "--pack-destination", str(folder), *EMOJI_PACKAGES.values(), NAMES_PACKAGE], check=True
    )
    return folder


def unpack(packages: Path, into: Path) -> Path:
    """Every package into a folder of its own, named by its file's first letters."""
    for path in sorted(packages.iterdir()):
        target = into / re.split(r"-\d", path.name)[0].replace("_", "-")
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)
        elif path.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(path) as archive:
                archive.extractall(target, filter="data")
    return into


def build_glyphs(unpacked: Path, into: Path) -> None:
    """Draw each character in each face, black on white: centred across, on one baseline, so that c and C differ."""
    fonts = sorted(unpacked.glob("font-*/**/*.ttf"), key=lambda path: path.stem)
    assert len(fonts) == 36, f"36 typefaces are expected; found {len(fonts)}"
    rows = []
    into.mkdir(parents=True, exist_ok=True)
    for character in string.digits + string.ascii_uppercase + string.ascii_lowercase:
        strip = Image.new("L", (GLYPH_SIDE * len(fonts), GLYPH_SIDE), 255)
        draw = ImageDraw.Draw(strip)
        sheet = sheet_name(character)
        for tile, path in enumerate(fonts):
            font = ImageFont.truetype(path, FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
            draw.text(((tile + 0.5) * GLYPH_SIDE, BASELINE), character, fill=0, font=font, anchor="ms")
            rows.append((sheet, tile, character, f"{character} in {face_name(path)}", kind_of(character)))
        strip.save(into / sheet, optimize=True)
    write_table(into, rows)


def sheet_name(character: str) -> str:
    """A file name that differs also where capitals do not count."""
    if character.isdigit():
        return f"digit_{character}.png"
    return f"{'capital' if character.isupper() else 'small'}_{character.lower()}.png"


def kind_of(character: str) -> str:
    """The parent of a character's class."""
    if character.isdigit():
        return "digits"
    return "capital letters" if character.isupper() else "small letters"


def face_name(path: Path) -> str:
    """'SourceSansPro-BoldIt' -> 'Source Sans Pro Bold Italic'."""
    family, _, style = path.stem.partition("-")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", f"{family} {style}")
    return re.sub(r"\bIt$", "Italic", words)


def build_emoji(unpacked: Path, into: Path) -> None:
    """Six skin tones by two designers of each person or gesture, on white, one palette strip per class."""
    folders = {
        designer: unpacked / package.partition("@")[0] / "package" for designer, package in EMOJI_PACKAGES.items()
    }
    records = json.loads((folders["Noto"] / "emoji.json").read_text(encoding="utf-8"))
    official = official_names(unpacked / NAMES_PACKAGE.partition("@")[0] / "package" / "en" / "data.json")
    rows = []
    into.mkdir(parents=True, exist_ok=True)
    for record in sorted(filter(is_chosen, records), key=lambda record: record["sort_order"]):
        name = class_name(record)
        drawings = [record, *(record["skin_variations"][tone] for tone in TONES)]
        files = [drawing["image"] for drawing in drawings]
        texts = [official[plain_code(drawing["unified"])] for drawing in drawings]
        strip = Image.new("RGB", (EMOJI_SIDE * len(files) * len(folders), EMOJI_SIDE), "white")
        sheet = re.sub(r"[^a-z0-9]+", "_", name) + ".png"
        tile = 0
        for designer, folder in folders.items():
            source = folder / "img" / ("google" if designer == "Noto" else "twitter") / "64"
            for tone, file, text in zip(TONE_NAMES, files, texts, strict=True):
                strip.paste(on_white(source / file), (tile * EMOJI_SIDE, 0))
                rows.append((sheet, tile, name, f"{name}, {tone}, {designer}", group_name(record), text))
                tile += 1
        few = strip.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(into / sheet, optimize=True)
    write_table(into, rows)


def is_chosen(record: dict) -> bool:
    """People and gestures in all six tones by both designers; of women and men in one role, the neutral drawing."""
    code = record["unified"]
    drawings = [record, *record.get("skin_variations", {}).values()]
    return (
        set(record.get("skin_variations", ())) == set(TONES)
        and all(drawing["has_img_google"] and drawing["has_img_twitter"] for drawing in drawings)
        and not code.startswith(("1F468-", "1F469-"))  # man, woman + something
        and not code.endswith(("200D-2640-FE0F", "200D-2642-FE0F"))  # something + female, male sign
        and not code.endswith("200D-27A1-FE0F")  # facing right: a mirror image
        and record["short_name"] not in NOT_FOR_A_CLASSROOM | NEAR_COPIES | TONES_ALIKE
    )


def class_name(record: dict) -> str:
    """The emoji's English name in lower case, without the words that only Unicode needs."""
    name = record["name"].lower().removeprefix("white ").removesuffix(" sign")
    return RENAMED.get(name, name)


def official_names(path: Path) -> dict[str, str]:
    """Each emoji's English short name in Unicode CLDR, skin tone and all, by its plain code."""
    records = json.loads(path.read_text(encoding="utf-8"))
    every = [drawing for record in records for drawing in (record, *record.get("skins", ()))]
    return {plain_code(drawing["hexcode"]): drawing["label"] for drawing in every}


def plain_code(code: str) -> str:
    """Without the sign that only asks for a coloured drawing, which lists give or leave out."""
    return "-".join(part for part in code.split("-") if part != "FE0F")


def group_name(record: dict) -> str:
    """The parent of an emoji's class: Unicode's subgroup, such as 'person role' or 'hand fingers open'."""
    return record["subcategory"].replace("-", " ")


def on_white(path: Path) -> Image.Image:
    with Image.open(path) as drawing:
        picture = Image.new("RGBA", drawing.size, "white")
        picture.alpha_composite(drawing.convert("RGBA"))
    return picture.convert("RGB").resize((EMOJI_SIDE, EMOJI_SIDE), Image.Resampling.LANCZOS)


def write_table(folder: Path, rows: list[tuple[str | int, ...]]) -> None:
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sheet", "tile", "class", "image", "parent", "text")[: len(rows[0])])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
