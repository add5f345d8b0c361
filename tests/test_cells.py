"""Texts in cells of CSV: harmless in spreadsheets and terminals, and the same when they are read again."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from visavis import errors
from visavis.cli.outputs import FaceLayout, Result, choose_format
from visavis.evaluation.protocols import Photo, read_groups, read_pairs_file
from visavis.files import from_cell, to_cell

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
DISTURBING = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029\u202a\u202e\u2066\u2069\u200f"]
AWKWARD = [
    '=HYPERLINK("mailto:eve","Ada")',
    "-1.5",
    "@SUM(1)",
    "\x1b]0;title\x07.jpg",
    "a\x9b31mb",
    "photo\u202egpj.exe",
    "'=1",
    "''=1",
    "'a\\x1bb",
    "=\\x3d\\\\",
    "'t Hooft",
    "C:\\photos\\new\\ada.jpg",
    "\udcff.jpg",
    "line\nbreak",
]


@given(st.text() | st.text(alphabet="'=\\x1b\x1b\n-a\u202e"))
@example("'")
@example("")
def test_every_text_comes_back_and_disturbs_nothing(text: str) -> None:
    cell = to_cell(text)
    assert from_cell(cell) == text
    assert not cell.startswith(FORMULAS)
    assert not set(cell) & set(DISTURBING)


@pytest.mark.parametrize("text", ["", "ada", "C:\\photos\\new.jpg", "O'Neill", "'t Hooft", "山田\u3000太郎", "a-b=c"])
def test_what_does_no_harm_stays(text: str) -> None:
    assert (to_cell(text), from_cell(text)) == (text, text)


def test_names_of_files_reach_neither_a_spreadsheet_nor_a_terminal_as_they_are() -> None:
    out = io.StringIO()
    failed = [Result(name, error=errors.NoFace("none")) for name in AWKWARD]
    choose_format(as_json=False, as_csv=True)(iter(failed), out, FaceLayout())
    _header, *rows = out.getvalue().splitlines()
    assert len(rows) == len(AWKWARD)
    assert not set("".join(rows)) & set(DISTURBING)
    cells = [row[0] for row in csv.reader(rows)]
    assert not any(cell.startswith(FORMULAS) for cell in cells)
    assert [from_cell(cell) for cell in cells] == AWKWARD
    assert json.loads(failed[0].to_json())["file"] == AWKWARD[0]  # where nothing is to be feared


@pytest.mark.parametrize("name", [name for name in AWKWARD if "\udcff" not in name])
def test_what_was_written_is_read_again(name: str, tmp_path: Path) -> None:
    photos = [Photo(name, name, "ada"), Photo("b", "b", name)]
    groups, pairs = tmp_path / "groups.csv", tmp_path / "pairs.csv"
    with groups.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[to_cell(name), to_cell("=group")]])
    found = read_groups(groups, photos)
    assert (found.names, found.of_photos.tolist(), found.unknown) == (("=group",), [0, 0], ())
    with pairs.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["file_a", "file_b", "same"], [to_cell(name), "b", 1]])
    read = read_pairs_file(pairs, tmp_path)
    assert sorted(photo.file for photo in read.photos) == sorted([name, "b"])
