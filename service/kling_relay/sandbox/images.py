"""Pictures of a prompt: a landscape whose colours and hills depend on the task, with the prompt as its caption.

The same seed always draws the same picture, so nothing is stored.
"""

import hashlib
import math
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from kling_relay.sandbox.ratios import SIZES

_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/STHeiti Light.ttc",
    "C:/Windows/Fonts/msyh.ttc",
)
"""Paths of fonts with Chinese on common systems; without one, captions have only Latin letters."""


def draw(seed: str, ratio: str, caption: str, phase: float = 0.0) -> Image.Image:
    """Return the picture of `caption` in the size of `ratio` (a key of SIZES), the same for the same arguments.

    From `phase` 0 to 1 the moon climbs and the hills pass by; the frames of the clips use this.
    """
    width, height = SIZES[ratio]
    digest = hashlib.sha256(f"{seed} {caption}".encode("utf-8", "replace")).digest()
    hue = digest[0] / 255
    picture = _sky(width, height, hue)
    pen = ImageDraw.Draw(picture)
    radius = min(width, height) * (0.07 + digest[1] / 2550)
    centre = (width * (0.2 + digest[2] / 425 + 0.3 * phase), height * (0.2 + digest[3] / 1275 - 0.05 * phase))
    pen.circle(centre, radius, fill=_colour(hue + 0.12, 0.35, 1.0))
    for layer in range(4):
        _hills(pen, (width, height), layer, digest[4 + 3 * layer : 7 + 3 * layer], hue=hue, phase=phase)
    _write(pen, (width, height), caption)
    return picture


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """Return the RGB colour of a hue (with period 1), saturation and value (both from 0 to 1)."""
    parts = (
        value * (1 - saturation * max(0.0, min(1.0, abs((hue + shift) % 1 * 6 - 3) - 1)))
        for shift in (0.5, 5 / 6, 1 / 6)
    )
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def _sky(width: int, height: int, hue: float) -> Image.Image:
    column = Image.new("RGB", (1, 64))
    for y in range(64):
        column.putpixel((0, y), _colour(hue + 0.12 * y / 63, 0.65 - 0.4 * y / 63, 0.55 + 0.4 * y / 63))
    return column.resize((width, height), Image.Resampling.BILINEAR)


def _hills(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], layer: int, digest: bytes, *, hue: float, phase: float
) -> None:
    width, height = size
    ground = height * (0.5 + 0.12 * layer)
    steep, shift = height * (0.04 + digest[0] / 4000), digest[1] / 40 + phase * (layer + 1)
    waves = 1.2 + digest[2] / 128
    ridge = [
        (
            x,
            ground
            + steep * math.sin(shift + waves * math.tau * x / width)
            + steep / 3 * math.sin(2 * shift + 3.1 * waves * math.tau * x / width),
        )
        for x in range(0, width + 8, 8)
    ]
    pen.polygon([*ridge, (width, height), (0, height)], fill=_colour(hue + 0.04 * layer, 0.5, 0.5 - 0.1 * layer))


@lru_cache(maxsize=32)
def _font(size: int, wide: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont | None:
    if not wide:
        return ImageFont.load_default(size)
    path = next((path for path in _FONTS if Path(path).is_file()), None)
    return ImageFont.truetype(path, size) if path else None


def _write(pen: ImageDraw.ImageDraw, size: tuple[int, int], caption: str) -> None:
    """Write the caption at the bottom; characters that no installed font has are left out, not drawn as boxes."""
    width, height = size
    letters = min(width, height) // 18
    wide = any(ord(character) > 0xFF for character in caption)
    font = _font(letters, wide)
    if font is None:
        font = _font(letters, False)
        caption = "".join(character for character in caption if ord(character) <= 0xFF)
    caption = " ".join(caption.split())
    lines: list[str] = [""]
    for character in caption:
        if pen.textlength(lines[-1] + character, font=font) > width * 0.9:
            lines.append("")
        lines[-1] += character
    for index, line in enumerate(reversed(lines[:4])):
        at = (width * 0.05, height - letters * (1.6 + 1.4 * index))

        pen.text(at, line.strip(), font=font, fill="white", stroke_width=1, stroke_fill=(0, 0, 0))
