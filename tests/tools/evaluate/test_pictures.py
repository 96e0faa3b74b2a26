from pathlib import Path

import pytest

from tools.evaluate.pictures import Labelled, PicturesError, distinct, groups, read_pictures, truth

NAMES = ["a dog", "a café", "a cat"]


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def shown(pictures: list[Labelled], root: Path) -> dict[str, set[str]]:
    return {picture.path.relative_to(root).as_posix(): set(picture.labels) for picture in pictures}


def test_a_folder_is_a_label_and_other_is_none_of_them(tmp_path: Path) -> None:
    make(
        tmp_path, "a dog/1.jpg", "a dog/more/2.PNG", "_other/3.webp", "a cat/notes.txt", ".hidden/4.jpg", "a cat/.5.jpg", "6.jpg"
    )
    # As macOS writes the name.
    make(tmp_path, "a cafe\u0301/7.jpg")
    pictures, passed_over = read_pictures(tmp_path, NAMES)
    assert shown(pictures, tmp_path) == {
        "a dog/1.jpg": {"a dog"}, "a dog/more/2.PNG": {"a dog"}, "_other/3.webp": set(), "a cafe\u0301/7.jpg": {"a café"},
    }  # fmt: skip
    assert passed_over == {"suffix .txt": 1, "beside the labels' folders": 1}


def test_a_csv_file_names_labels_and_groups(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        'Path,Label,Group\n"a,1.jpg",a dog;a cat,film\nb.jpg,_other,film\n\nc.jpg,a cat\nd.jpg,,\n', encoding="utf-8-sig"
    )
    pictures, _ = read_pictures(file, NAMES)
    assert shown(pictures, tmp_path) == {"a,1.jpg": {"a dog", "a cat"}, "b.jpg": set(), "c.jpg": {"a cat"}, "d.jpg": set()}
    assert truth(pictures, ["a cat", "a dog"]).tolist() == [[True, True], [False, False], [True, False], [False, False]]
    first, second, *others = groups(pictures).tolist()
    assert first == second
    assert len({first, *others}) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a.jpg,a dgo\n", 'labels.csv, line 1 has the label "a dgo", which is no label here. Did you mean "a dog"?'),
        ("path,label\na.jpg\n", "labels.csv, line 2 must be path,label or path,label,group"),
        ("a.jpg,_other;a dog\n", "has _other, none of the labels, beside a label"),
        ('"a.jpg,a dog\n', "can't be read as CSV in UTF-8"),
        ("path,label\n", "There is no picture in"),
    ],
)
def test_a_csv_file_that_says_nothing_clear_is_refused(lines: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(lines, encoding="utf-8")
    with pytest.raises(PicturesError) as refused:
        read_pictures(file, NAMES)
    assert message in str(refused.value)


def test_a_folder_without_pictures_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a dog/notes.txt")
    with pytest.raises(PicturesError, match=r'There is no picture in .*\. Make a folder for each label in it \("a dog", '):
        read_pictures(tmp_path, NAMES)
    with pytest.raises(PicturesError, match="is neither a folder nor a CSV file"):
        read_pictures(tmp_path / "none", NAMES)


def test_a_folder_whose_label_is_unknown_is_refused_with_the_nearest(tmp_path: Path) -> None:
    make(tmp_path, "a cats/1.jpg")
    with pytest.raises(PicturesError, match=r'a cats has the name "a cats", which is no label here\. Did you mean "a cat"'):
        read_pictures(tmp_path, NAMES)


A, B = (Labelled(Path(name), frozenset(["a dog"])) for name in "ab")
CAT = Labelled(Path("c"), frozenset(["a cat"]))
NONE = Labelled(Path("d"), frozenset())
HASHES = {picture.path: "same" for picture in (A, B, CAT, NONE)}


def test_a_copy_counts_once() -> None:
    assert distinct([A, B], HASHES, multi_label=False) == ([A], [B])
    assert distinct([A, B], {Path("a"): "1", Path("b"): "2"}, multi_label=False) == ([A, B], [])
    assert distinct([A, B], {Path("b"): "2"}, multi_label=False) == ([B], [])


def test_a_picture_under_two_labels_is_refused_where_they_exclude_each_other() -> None:
    with pytest.raises(PicturesError, match=r'^a and c are the same picture, under "a dog" and under "a cat"'):
        distinct([A, CAT], HASHES, multi_label=False)
    assert distinct([A, CAT], HASHES, multi_label=True) == ([Labelled(Path("a"), frozenset(["a dog", "a cat"]))], [CAT])
    with pytest.raises(PicturesError, match='under "a dog" and under _other'):
        distinct([A, NONE], HASHES, multi_label=True)
