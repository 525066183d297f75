"""Your own data: a folder of images, a file of comma-separated values."""

from __future__ import annotations

import csv
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def from_folder(
    path: str | Path, shape: tuple[int, int] | None = None, gray: bool = True
) -> tuple[np.ndarray, tuple[int, ...]]:
    """The images in a folder as rows (n, width) float32 in [0, 1], by file name, and the shape of one of them.

    Reads every file whose name ends as Pillow knows it (png, jpg, tif, ...), no folders inside. The shape is (height, width),
    with `gray=False` (height, width, 3) with red, green and blue of a pixel side by side. Images must have one size, unless
    `shape` (height, width) is given, to which all are resized. Cameras' notes on rotation are followed, transparency is ignored.

    Raises `ValueError` naming the file for one that has another size or can't be read, `FileNotFoundError` for a folder without
    images.
    """
    from PIL import Image

    folder = Path(path)
    endings = Image.registered_extensions()
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in endings and file.is_file())
    if not files:
        raise FileNotFoundError(f"{folder} holds no images; expected files whose names end in .png, .jpg, .tif or the like")
    rows = np.empty((0, 0), np.float32)
    expected: tuple[int, ...] = ()
    for number, file in enumerate(files):
        try:
            with Image.open(file) as image:
                pixels = _pixels(image, shape, gray)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises for bad files
            raise ValueError(f"{file} can't be read as an image: {error}; repair it or take it out of the folder") from error
        if number == 0:
            expected = pixels.shape
            rows = np.empty((len(files), pixels.size), np.float32)
        if pixels.shape != expected:
            raise ValueError(
                f"{file} is {pixels.shape[0]} × {pixels.shape[1]}, but {files[0].name} is {expected[0]} × {expected[1]}; "
                f"expected one size: crop the images, or give shape=({expected[0]}, {expected[1]}) to resize all"
            )
        rows[number] = pixels.ravel()
    return rows, expected


def _pixels(image: Image.Image, shape: tuple[int, int] | None, gray: bool) -> np.ndarray:
    """Height × width (× 3) in [0, 1]."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels have mode {image.mode!r}, whose range is not known")
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts off what is above 255
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    image = image.convert("L" if gray else "RGB")
    if shape is not None:
        image = image.resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.divide(np.asarray(image), 255, dtype=np.float32)


def from_csv(path: str | Path, label: str | int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers in a file of comma-separated values: rows (n, columns) float64, and labels (n,) int64 or None.

    A first line without any number is a header. `label` is the column of labels, by its name in the header or by its place
    (0 is the first, -1 the last); it is left out of the rows. UTF-8, blank lines are skipped.

    Raises `ValueError` naming line and column for what is no finite number, for lines of different lengths, and for labels that
    are no whole numbers.
    """
    values = array("d")
    lines = array("q")  # the number of each row's line, for the messages
    header: list[str] = []
    width = 0
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        for cells in reader:
            if not cells:
                continue
            if not width:
                width = len(cells)
                if not any(map(_is_number, cells)):
                    header = [cell.strip() for cell in cells]
                    continue
            if len(cells) != width:
                raise ValueError(
                    f"{path}, line {reader.line_num}: found {len(cells)} columns; expected {width} as in the first line"
                )
            try:
                values.extend(map(float, cells))
            except ValueError:
                column = next(i for i, cell in enumerate(cells) if not _is_number(cell))
                raise ValueError(_not_a_number(path, reader.line_num, column, header, cells[column])) from None
            lines.append(reader.line_num)
    if not lines:
        raise ValueError(f"{path} holds no numbers; expected lines of numbers with commas between them")
    rows = np.frombuffer(values).reshape(-1, width)
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = (int(i) for i in np.unravel_index(finite.argmin(), finite.shape))
        raise ValueError(_not_a_number(path, lines[row], column, header, str(rows[row, column])))
    if label is None:
        return rows, None
    place = _place(path, label, header, width)
    labels = rows[:, place]
    whole = labels == np.floor(labels)
    if not whole.all():
        row = int(whole.argmin())
        raise ValueError(
            f"{path}, line {lines[row]}, {_column(place, header)}: found the label {labels[row]}; expected a whole number, "
            "the number of a class"
        )
    return np.delete(rows, place, axis=1), labels.astype(np.int64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _place(path: str | Path, label: str | int, header: list[str], width: int) -> int:
    if isinstance(label, str):
        if header.count(label) != 1:
            found = f"the columns {', '.join(map(repr, header))}" if header else "no header"
            raise ValueError(f"{path} has {found}; expected one column called {label!r}, or give label as the column's number")
        return header.index(label)
    if not -width <= label < width:
        raise ValueError(f"{path} has {width} columns; expected label from {-width} to {width - 1}, found {label}")
    return label % width


def _column(column: int, header: list[str]) -> str:
    return f"column {column}" + (f" ({header[column]!r})" if header else "")


def _not_a_number(path: str | Path, line: int, column: int, header: list[str], cell: str) -> str:
    if not cell.strip():
        cure = "fill in the missing value or take out the line"
    elif ";" in cell or "\t" in cell:
        cure = "put commas between the columns and points in the fractions"
    elif line == 1:
        cure = "a header has no numbers in it, other lines nothing else; name all columns, or take out the names"
    else:
        cure = "replace words by numbers, or take out the line or the column"
    return f"{path}, line {line}, {_column(column, header)}: found {cell!r}; expected a finite number: {cure}"
