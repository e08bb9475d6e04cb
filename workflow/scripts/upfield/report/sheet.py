"""The pictures of all pairs side by side, to be looked through in one go."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from upfield.files import atomic
from upfield.step import step

# Pixels: a row of pictures, and the name above it. Forty rows are as high as WebP can be.
HEIGHT, TITLE = 380, 18


@step(version=1, memory=(700, 0), minutes=(0.5, 0))
def contact_sheet(pictures: Mapping[str, Sequence[str | Path]], contact_sheet: str | Path) -> None:
    """Write a WebP with one row of pictures, left to right, for each name."""
    rows = {name: [_small(path) for path in paths] for name, paths in pictures.items()}
    width = max(sum(image.width for image in row) for row in rows.values())
    sheet = Image.new("RGB", (width, (HEIGHT + TITLE) * len(rows)), "black")
    write = ImageDraw.Draw(sheet)
    for number, (name, row) in enumerate(rows.items()):
        top, left = number * (HEIGHT + TITLE), 0
        write.text((4, top + 3), name, fill="white")
        for image in row:
            sheet.paste(image, (left, top + TITLE))
            left += image.width
    with atomic(contact_sheet) as temporary:
        sheet.save(temporary, "WEBP", quality=70, method=6)


def _small(path: str | Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB").resize((round(image.width * HEIGHT / image.height), HEIGHT))
