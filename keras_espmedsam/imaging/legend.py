"""Draw a legend: a coloured square and a name for each target."""

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

# The letters' height in pixels: readable when an image is seen as a whole on a screen, and in a
# small image at its own size. Larger ones would need much memory below a very long image.
_SHARE, _SMALLEST, _LARGEST = 1 / 45, 12, 200
_BACKGROUND, _INK = (24, 24, 24), (255, 255, 255)


def draw_legend(colours: Mapping[str, tuple[int, int, int]], size: tuple[int, int]) -> Image.Image:
    """Draw the names of targets beside their colours, as a strip to put below an image.

    Names are in rows as wide as the image. The strip is wider than the image only if a single name
    does not fit.

    Args:
        colours: dict of name to red, green and blue, from `target_colours`.
        size: (height, width) of the image in pixels.

    Returns:
        Pillow image in RGB.

    Example:
        >>> draw_legend({"vessels": (86, 180, 233)}, (400, 300)).size
        (300, 24)
    """
    letters = min(max(_SMALLEST, round(max(size) * _SHARE)), _LARGEST)
    font = _font(letters)
    gap = letters // 2
    high = 2 * letters
    rows: list[list[tuple[str, int]]] = [[]]
    left = gap
    for name in colours:
        width = letters + gap + round(font.getlength(name)) + 2 * gap
        if rows[-1] and left + width - gap > size[1]:
            rows.append([])
            left = gap
        rows[-1].append((name, left))
        left += width
    widest = max(round(font.getlength(name)) for name in colours) + letters + 3 * gap
    strip = Image.new("RGB", (max(size[1], widest), len(rows) * high), _BACKGROUND)
    pen = ImageDraw.Draw(strip)
    for number, row in enumerate(rows):
        top = number * high + (high - letters) // 2
        for name, left in row:
            pen.rectangle((left, top, left + letters - 1, top + letters - 1), fill=colours[name])
            pen.text((left + letters + gap, top + letters // 2), name, _INK, font, **_middle(font))
    return strip


def _font(letters: int) -> Any:
    try:
        return ImageFont.load_default(letters)
    except (ImportError, OSError):  # Pillow was built without FreeType; it has one small font then.
        return ImageFont.load_default()


def _middle(font):
    # Only FreeType can place letters by their middle.
    return {"anchor": "lm"} if isinstance(font, ImageFont.FreeTypeFont) else {}
