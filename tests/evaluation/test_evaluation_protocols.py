"""What is compared with what: files of pairs and of groups, and pairs and galleries made of folders of people."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis import InvalidOption
from visavis.evaluation.protocols import (
    FOLDERS,
    Grouping,
    Pairs,
    Photo,
    Split,
    pair_people,
    people_of,
    person_in_group,
    read_groups,
    read_pairs_file,
    split_people,
    within_groups,
    without,
)


def photos(*counts: int) -> list[Photo]:
    """Return so many photos of each person, one person's not side by side."""
    named = [
        Photo(f"p{person}/{number}.jpg", f"p{person}/{number}.jpg", f"p{person}")
        for person, count in enumerate(counts)
        for number in range(count)
    ]
    return named[::2] + named[1::2]


def pairs_of(protocol: Pairs) -> set[frozenset[str]]:
    return {frozenset(protocol.photos[place].file for place in pair) for pair in protocol.places}


def read(folder: Path, text: str | bytes, name: str = "pairs.txt") -> Pairs:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_pairs_file(path, folder / "images")


def test_the_first_fold_of_lfw(test_data: Path) -> None:
    folder = test_data / "lfw-fold1"
    protocol = read_pairs_file(folder / "pairs.txt", folder / "images")
    assert len(protocol.photos) == 807
    assert protocol.same.tolist() == [True] * 300 + [False] * 300
    assert protocol.folds is None
    assert all(Path(photo.path).is_file() for photo in protocol.photos)
    assert protocol.photos[0] == Photo(
        "Abel_Pacheco/Abel_Pacheco_0001.jpg",
        str(folder / "images" / "Abel_Pacheco" / "Abel_Pacheco_0001.jpg"),
        "Abel_Pacheco",
    )


def test_folds_are_numbered(tmp_path: Path) -> None:
    lines = ["2\t1", "A\t1\t2", "A\t1\tB\t1", "B\t1\t2", "B\t2\tC\t10"]
    protocol = read(tmp_path, "\n".join(lines))
    assert protocol.folds is not None
    assert protocol.folds.tolist() == [0, 0, 1, 1]
    assert protocol.same.tolist() == [True, False, True, False]
    assert protocol.photos[-1].file == "C/C_0010.jpg"


@pytest.mark.parametrize("header", ["", "1\n", "1\t1\n", "\ufeff1\t1\n"])
@pytest.mark.parametrize("separator", ["\t", " "])
def test_headers_and_separators(header: str, separator: str, tmp_path: Path) -> None:
    lines = [separator.join(["Ada", "1", "2"]), separator.join(["Ada", "1", "Bo", "3"])]
    protocol = read(tmp_path, header + "".join(line + "\r\n" for line in (*lines, "")))
    assert [photo.file for photo in protocol.photos] == ["Ada/Ada_0001.jpg", "Ada/Ada_0002.jpg", "Bo/Bo_0003.jpg"]
    assert protocol.folds is None


def test_other_suffixes_are_found(tmp_path: Path) -> None:
    image = tmp_path / "images" / "Ada" / "Ada_0002.png"
    image.parent.mkdir(parents=True)
    image.touch()
    protocol = read(tmp_path, "Ada 1 2")
    assert [photo.file for photo in protocol.photos] == ["Ada/Ada_0001.jpg", "Ada/Ada_0002.png"]


def test_names_may_have_spaces_between_tabs(tmp_path: Path) -> None:
    assert read(tmp_path, "Ada L\t1\t2").photos[0].file == "Ada L/Ada L_0001.jpg"


def test_csv_joins_people(tmp_path: Path) -> None:
    lines = ["file_a,file_b,same", "1.jpg,2.jpg,1", "./2.jpg,3.jpg,yes", "3.jpg,4.jpg,0", '"x, y.jpg",4.jpg,False']
    protocol = read(tmp_path, "\n".join(lines), "pairs.csv")
    assert {photo.file: photo.person for photo in protocol.photos} == {
        "1.jpg": "1.jpg",
        "2.jpg": "1.jpg",
        "3.jpg": "1.jpg",
        "4.jpg": "4.jpg",
        "x, y.jpg": "x, y.jpg",
    }
    assert protocol.same.tolist() == [True, True, False, False]


def test_csv_may_have_folds_and_more(tmp_path: Path) -> None:
    protocol = read(tmp_path, "same,note,file_b,file_a,fold\n1,,b,a,1\n0,,c,a,2\n", "pairs.csv")
    assert protocol.folds is not None
    assert protocol.folds.tolist() == [1, 2]


def test_pairs_that_occur_twice_are_told(tmp_path: Path) -> None:
    assert "2 of them more than once" in read(tmp_path, "A 1 2\nA 1 2\nA 2 1\nA 1 B 1").about


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n", "no pair"),
        ("300", "line 1: 1 x 2 x 300 = 600 pairs are announced, and 0 follow"),
        ("1\t1\nA\t1\t2", "line 1: 1 x 2 x 1 = 2 pairs are announced, and 1 follow"),
        ("A\t1", "line 1: 3 or 4 fields are a pair, not 2"),
        ("A\t1\t2\nA\t1\t2\t3\t4", "line 2: 3 or 4 fields are a pair, not 5"),
        ("A\t1\tx", "line 1: a number is wanted, not 'x'"),
        ("A\t1\t-1", "line 1: a number is wanted"),
        ("A\t1\t" + "9" * 5000, "line 1: a number is wanted"),
        ("9" * 5000, "line 1: 3 or 4 fields"),
        ("A\t1\t1", "line 1: 'A/A_0001.jpg' is paired with itself"),
        ("..\t1\t2", "line 1: .* leads out of the folder"),
        ("/etc/passwd\t1\t2", "line 1: .* leads out of the folder"),
        ("a/../../b\t1\t2", "line 1: .* leads out of the folder"),
        ("A\0\t1\t2", "line 1: .* leads out of the folder"),
        ("A\t1\t2\n\xff".encode("latin-1"), "line 2: not UTF-8"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40_000, "line 1: not UTF-8"),
        (b"\0" * 10_000_000, "line 1: 3 or 4 fields"),
        (b"x " * 5_000_000, "line 1: 3 or 4 fields are a pair, not 5000000: 'x x"),
    ],
    ids=range(19),
)
def test_what_is_no_pairs_file(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=message) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("file_a,file_b,same", "no pair"),
        ("a,b,c\n1,2,3", "line 1: the header lacks file_a, file_b, same"),
        ("file_a,file_b,same\na,b", "line 2: 2 cells where the header has 3"),
        ("file_a,file_b,same\na,b,maybe", "line 2: same is 1 or 0, not 'maybe'"),
        ("file_a,file_b,same\na,,1", "line 2: a file's name is empty"),
        ("file_a,file_b,same\na,../b,1", "line 2: '../b' leads out"),
        ("file_a,file_b,same\na,/b,1", "line 2: '/b' leads out"),
        ("file_a,file_b,same\na,./a,1", "line 2: 'a' is paired with itself"),
        ("file_a,file_b,same\na,b,1\nb,a,0", "line 3: strangers here, and the same person by way|contradicts line 2"),
        ("file_a,file_b,same\na,b,1\nb,c,1\nc,a,0", "line 4: strangers here, and the same person"),
        ("file_a,file_b,same,fold\na,b,1,x", "line 2: a number is wanted"),
        ("file_a,file_b,same\na," + "b" * 200_000 + ",1", "no CSV: field larger"),
    ],
    ids=range(13),
)
def test_what_is_no_csv_of_pairs(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=message):
        read(tmp_path, text, "pairs.csv")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"none\.txt: No such file"):
        read_pairs_file(tmp_path / "none.txt", tmp_path)
    with pytest.raises(InvalidOption, match="Is a directory"):
        read_pairs_file(tmp_path, tmp_path)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage_is_an_error_or_pairs(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.txt"
    path.write_bytes(content)
    try:
        protocol = read_pairs_file(path, path.parent)
    except InvalidOption:
        return
    assert len(protocol.same)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(2, 60), st.integers(0, 3))
def test_pairs_of_people(counts: list[int], most: int, seed: int) -> None:
    everything = photos(*counts)
    if max(counts) == 1:
        with pytest.raises(InvalidOption, match="nobody is there with two images"):
            pair_people(everything, most=most)
        return
    protocol = pair_people(everything, most=most, seed=seed)
    names, numbers = people_of(protocol.photos)
    total = sum(counts) * (sum(counts) - 1) // 2
    assert sorted(photo.file for photo in protocol.photos) == sorted(photo.file for photo in everything)
    assert len(names) == len(counts)
    # Each pair once, none of an image with itself, and as many as were asked for.
    assert len(pairs_of(protocol)) == len(protocol.same) == min(most, total)
    first, second = protocol.places.T
    assert (first != second).all()
    assert (protocol.same == (numbers[first] == numbers[second])).all()
    assert 0 < protocol.same.sum() < len(protocol.same)
    again = pair_people(everything, most=most, seed=seed)
    assert pairs_of(again) == pairs_of(protocol)
    assert ("drawn with seed" in protocol.about) is (most < total)


def test_a_large_folder_is_sampled_without_listing_its_pairs() -> None:
    protocol = pair_people(photos(*[30] * 2000), most=1000, seed=1)  # 1.8 thousand million pairs
    assert protocol.same.sum() == 500
    assert len(pairs_of(protocol)) == 1000
    assert "500 of 870,000 pairs of one person" in protocol.about
    # Drawn evenly: as many from the first half as from the second, but for chance.
    assert 0.4 < np.mean(protocol.places[protocol.same, 0] < 30_000) < 0.6


@pytest.mark.parametrize("counts", [(), (3,)])
def test_one_person_has_no_strangers(counts: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOption, match="two people or more"):
        pair_people(photos(*counts))
    with pytest.raises(InvalidOption, match="two people or more"):
        split_people(photos(*counts))


def enrolled_and_probes(split: Split) -> tuple[list[str], list[str]]:
    return (
        sorted(split.photos[place].file for place in split.gallery),
        sorted(split.photos[place].file for place in split.probes),
    )


def test_a_split_by_number_of_images() -> None:
    everything = sorted(photos(1, 2, 3), key=lambda photo: photo.file)
    assert enrolled_and_probes(split_people(everything)) == (
        ["p1/0.jpg", "p2/0.jpg"],
        ["p0/0.jpg", "p1/1.jpg", "p2/1.jpg", "p2/2.jpg"],
    )
    assert enrolled_and_probes(split_people(everything, per_person=2)) == (
        ["p2/0.jpg", "p2/1.jpg"],
        ["p0/0.jpg", "p1/0.jpg", "p1/1.jpg", "p2/2.jpg"],
    )


def test_a_split_by_share() -> None:
    split = split_people(photos(*[3] * 10), strangers=0.3, seed=2)
    _, numbers = people_of(split.photos)
    known = set(numbers[split.gallery].tolist())
    assert len(known) == len(split.gallery) == 7
    assert len(split.probes) == 7 * 2 + 3 * 3
    assert "3 people, drawn with seed 2" in split.about


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((1, 1), {}, "nobody has more than 1 image"),
        ((2, 2), {"per_person": 2}, "nobody has more than 2 images"),
        ((1, 1), {"strangers": 0.0}, "none of the people enrolled has another image"),
        ((2, 2), {"per_person": 0}, "per_person must be 1 or more"),
        ((2, 2), {"strangers": 1.0}, "strangers must be a share"),
        ((2, 2), {"strangers": float("nan")}, "strangers must be a share"),
    ],
)
def test_what_cannot_be_split(counts: tuple[int, ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        split_people(photos(*counts), **options)  # type: ignore[arg-type]


def test_missing_photos_take_their_pairs_along() -> None:
    protocol = pair_people(photos(2, 2))
    gone = [photo.file == "p0/0.jpg" for photo in protocol.photos]
    left = without(protocol, gone, "not there")
    assert pairs_of(left) == {pair for pair in pairs_of(protocol) if "p0/0.jpg" not in pair}
    assert left.left_out == ("p0/0.jpg: not there",)
    nothing = without(protocol, [True] * 4, "not there")
    assert (len(nothing.photos), len(nothing.same)) == (0, 0)


def test_groups_of_people_and_of_files(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("person,group\np0,old\n\np1,young\np1/1.jpg,old\nnobody,none\n")
    everything = sorted(photos(1, 2, 1), key=lambda photo: photo.file)
    grouping = read_groups(path, everything)
    assert grouping.names == ("old", "young")
    assert grouping.of_photos.tolist() == [0, 1, 0, -1]
    assert grouping.unknown == ("nobody",)


def test_folders_are_groups() -> None:
    files = ["old/ada/1.jpg", "old/ada/2.jpg", "old/bob.jpg", "young/ada/1.jpg"]
    assert [person_in_group(file) for file in files] == ["old/ada", "old/ada", "old/bob.jpg", "young/ada"]
    grouping = read_groups(FOLDERS, [Photo(file, file, person_in_group(file)) for file in files])
    assert (grouping.names, grouping.of_photos.tolist(), grouping.unknown) == (("old", "young"), [0, 0, 0, 1], ())


def test_strangers_within_groups() -> None:
    protocol = pair_people(photos(2, 1, 1, 1))
    group = {"p0": 0, "p1": 0, "p2": 1, "p3": -1}
    places = np.array([group[photo.person] for photo in protocol.photos])
    left = within_groups(protocol, Grouping(("a", "b"), places))
    first, second, other = "p0/0.jpg", "p0/1.jpg", "p1/0.jpg"
    assert pairs_of(left) == {frozenset(pair) for pair in ((first, second), (first, other), (second, other))}
    assert left.same.sum() == 1
    assert "of the strangers, those of one of 2 groups" in left.about


def test_one_photo_of_each_is_enough_for_strangers() -> None:
    protocol = pair_people(photos(1, 1, 1), strangers_suffice=True)
    assert protocol.same.tolist() == [False] * 3
    with pytest.raises(InvalidOption, match="nobody is there with two images"):
        pair_people(photos(1, 1, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names none of the people"),
        (b"person,group\n", "names none of the people"),
        (b"x,y\n", "names none of the people"),
        (b"p0\n", "line 1: a person or file, and a group"),
        (b"p0,\n", "line 1: a person or file, and a group"),
        (b"p0,a,b\n", "line 1: a person or file, and a group"),
        (b"p0,a\np0,b\n", "line 2: 'p0' is in a group already"),
        (b"p0,\xff\n", "no CSV in UTF-8"),
        (b"p0," + b"x" * 200_000, "no CSV in UTF-8"),
        (b"".join(f"p{n},g{n}\n".encode() for n in range(101)), "101 groups are more than the 100"),
    ],
    ids=range(10),
)
def test_what_is_no_file_of_groups(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidOption, match=message):
        read_groups(path, photos(*[1] * 101))
    with pytest.raises(InvalidOption, match=os.strerror(2)):
        read_groups(tmp_path / "none.csv", [])
