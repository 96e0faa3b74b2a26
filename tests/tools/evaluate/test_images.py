import re
from pathlib import Path

import numpy as np
import pytest

from tools.evaluate.images import distinct, groups, read_images, truth
from tools.evaluate.labelled import ImagesError, Labelled

NAMES = ["a dog", "a café", "a cat"]


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def shown(images: list[Labelled], root: Path) -> dict[str, set[str]]:
    return {image.path.relative_to(root).as_posix(): set(image.labels) for image in images}


def test_a_folder_is_a_label_and_other_is_none_of_them(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a dog/1.jpg",
        "a dog/more/2.PNG",
        "_other/3.webp",
        "a cat/notes.txt",
        ".hidden/4.jpg",
        "a cat/.5.jpg",
        "6.jpg",
    )
    # As macOS writes the name.
    make(tmp_path, "a cafe\u0301/7.jpg")
    images, passed_over = read_images(tmp_path, NAMES)
    assert shown(images, tmp_path) == {
        "a dog/1.jpg": {"a dog"},
        "a dog/more/2.PNG": {"a dog"},
        "_other/3.webp": set(),
        "a cafe\u0301/7.jpg": {"a café"},
    }
    assert passed_over == {"suffix .txt": 1, "in no label's folder": 1, "hidden": 2}


def test_links_to_labels_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    images = tmp_path / "pictures"
    make(tmp_path, "all/dogs/1.jpg", "all/dogs/more/2.jpg", "pictures/a cat/3.jpg")
    (images / "a dog").symlink_to(tmp_path / "all" / "dogs", target_is_directory=True)
    (images / "a cat" / "loop").symlink_to(images, target_is_directory=True)
    found, passed_over = read_images(images, NAMES)
    assert shown(found, images) == {
        "a dog/1.jpg": {"a dog"},
        "a dog/more/2.jpg": {"a dog"},
        "a cat/3.jpg": {"a cat"},
    }
    assert passed_over == {"a link to a folder that was read already": 1}
    (images / "a café").symlink_to(tmp_path / "none")
    with pytest.raises(ImagesError, match="a café leads nowhere"):
        read_images(images, NAMES)


def test_patterns_leave_out_files_folders_and_whole_labels(tmp_path: Path) -> None:
    make(tmp_path, "a dog/1.jpg", "a dog/1.png", "a dog/small/2.jpg", "a cat/3.jpg")
    found, passed_over = read_images(tmp_path, NAMES, ["*.png", "a dog/small", "a cat"])
    assert shown(found, tmp_path) == {"a dog/1.jpg": {"a dog"}}
    assert passed_over == {"excluded": 3}


def test_a_csv_file_names_labels_and_groups(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        'Path,Label,Group\n"a,1.jpg",a dog;a cat,film\nb.jpg,_other,film\n\nc.jpg,a cat\nd.jpg,,\n',
        encoding="utf-8-sig",
    )
    images, _ = read_images(file, NAMES)
    assert shown(images, tmp_path) == {
        "a,1.jpg": {"a dog", "a cat"},
        "b.jpg": set(),
        "c.jpg": {"a cat"},
        "d.jpg": set(),
    }
    assert truth(images, ["a cat", "a dog"]).tolist() == [
        [True, True],
        [False, False],
        [True, False],
        [False, False],
    ]
    first, second, *others = groups(images, np.arange(4)).tolist()
    assert first == second
    assert len({first, *others}) == 3
    assert [image.place for image in images] == [
        f"{file}, line {number}" for number in (2, 3, 5, 6)
    ]


def test_near_copies_are_a_group_unless_the_csv_file_says_otherwise() -> None:
    images = [
        Labelled(Path(str(i)), frozenset(), group)
        for i, group in enumerate(["film", None, "scene", None, None, None])
    ]
    assert groups(images, np.array([0, 0, 0, 3, 3, 5])).tolist() == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    "header",
    ["filename,label", "File Name,Labels", "image_path,class", "label,file", "group,image,label"],
)
def test_a_header_names_the_columns_in_any_order(header: str, tmp_path: Path) -> None:
    cells = {"label": "a dog", "labels": "a dog", "class": "a dog", "group": "film"}
    file = tmp_path / "labels.csv"
    row = ",".join(cells.get(name.lower(), "a.jpg") for name in header.split(","))
    file.write_text(f"{header}\n{row}\n", encoding="utf-8")
    [found], _ = read_images(file, NAMES)
    assert (found.path.name, found.labels, found.group) == (
        "a.jpg",
        frozenset(["a dog"]),
        "film" if "group" in header else None,
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_excel_writes_is_read(end: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(
        end.join(['"path","label",,', '"a.jpg","a café",,', '"b.jpg","a dog",,', ""]).encode(
            "utf-8-sig"
        )
    )
    found, _ = read_images(file, NAMES)
    assert [(image.path.name, *image.labels) for image in found] == [
        ("a.jpg", "a café"),
        ("b.jpg", "a dog"),
    ]
    assert found[1].place.endswith("line 3")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "path,label\na.jpg,a dog\n".encode("utf-16"),
            "labels.csv is in UTF-16; save it as CSV in UTF-8 with commas",
        ),
        (
            "path,label\na.jpg,a café\n".encode("cp1252"),
            "labels.csv, line 2 isn't in UTF-8; save it as CSV in UTF-8",
        ),
        ("a.jpg,a dog\n".encode("utf-16-le"), "labels.csv, line 1 holds a zero byte; save it"),
        (b"path;label\na.jpg;a dog\n", "semicolons separate labels"),
        (b"a.jpg\ta dog\n", "save it as CSV in UTF-8 with commas"),
    ],
)
def test_other_encodings_and_separators_are_refused_with_what_to_do(
    data: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(data)
    with pytest.raises(ImagesError, match=re.escape(message)):
        read_images(file, NAMES)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "a.jpg,a dgo\n",
            (
                'labels.csv, line 1 has the label "a dgo", which is no label here. Did you mean "a'
                ' dog"?'
            ),
        ),
        ("path,label\na.jpg\n", "labels.csv, line 2 must be path,label or path,label,group"),
        ("a.jpg,_other;a dog\n", "has _other, none of the labels, together with a label"),
        ('"a.jpg,a dog\n', "can't be read as CSV in UTF-8"),
        ("path,label\n", "has no image"),
        (
            "path,label,split\na.jpg,a dog,train\n",
            'labels.csv, line 1, the header: the column "split" means nothing here. Remove',
        ),
        (
            "a.jpg,a dog,train\nb.jpg,a cat,test\n",
            "labels.csv, line 1 has a split in the third column. Remove",
        ),
        ("path,file,label\na.jpg,b.jpg,a dog\n", 'the column "path" is there twice'),
        (
            "filepath,ground_truth\na.jpg,a dog\n",
            'the header: the column "ground_truth" means nothing here',
        ),
        ("filename\na.jpg\n", "the header, has no column label"),
        (
            "img,tag\na.jpg,a dog\n",
            "If this line is meant as a header: A header names its columns path, label",
        ),
        ("a.jpg,a dog,film,x\n", "labels.csv, line 1 must be path,label or path,label,group"),
    ],
)
def test_a_csv_file_that_says_nothing_clear_is_refused(
    lines: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(lines, encoding="utf-8")
    with pytest.raises(ImagesError) as refused:
        read_images(file, NAMES)
    assert message in str(refused.value)


def test_a_folder_without_images_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a dog/notes.txt")
    with pytest.raises(
        ImagesError, match=r' has no image\. Make a folder for each label in it \("a dog", '
    ):
        read_images(tmp_path, NAMES)
    with pytest.raises(ImagesError, match="is neither a folder nor a CSV file"):
        read_images(tmp_path / "none", NAMES)


def test_a_folder_whose_label_is_unknown_is_refused_with_the_nearest(tmp_path: Path) -> None:
    make(tmp_path, "a cats/1.jpg")
    with pytest.raises(
        ImagesError,
        match=r'a cats has the name "a cats", which is no label here\. Did you mean "a cat"',
    ):
        read_images(tmp_path, NAMES)


A, B = (Labelled(Path(name), frozenset(["a dog"])) for name in "ab")
CAT = Labelled(Path("c"), frozenset(["a cat"]))
NONE = Labelled(Path("d"), frozenset())
HASHES = {image.path: "same" for image in (A, B, CAT, NONE)}


def test_a_copy_counts_once() -> None:
    assert distinct([A, B], HASHES, multi_label=False) == ([A], [B])
    assert distinct([A, B], {Path("a"): "1", Path("b"): "2"}, multi_label=False) == ([A, B], [])
    assert distinct([A, B], {Path("b"): "2"}, multi_label=False) == ([B], [])


def test_an_image_under_two_labels_is_refused_if_they_exclude_each_other() -> None:
    with pytest.raises(
        ImagesError, match=r'^a and c are the same image, under "a dog" and under "a cat"'
    ):
        distinct([A, CAT], HASHES, multi_label=False)
    assert distinct([A, CAT], HASHES, multi_label=True) == (
        [Labelled(Path("a"), frozenset(["a dog", "a cat"]))],
        [CAT],
    )
    with pytest.raises(ImagesError, match='under "a dog" and under _other'):
        distinct([A, NONE], HASHES, multi_label=True)
