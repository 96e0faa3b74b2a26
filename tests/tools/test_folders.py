"""Which files below a folder are images: for all tools, and alike for the examples, which stand
alone.
"""

import io
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import folders as example
from tools.folders import Folder, progress, summary

IMAGES = {}
for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF"):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    IMAGES[kind] = file.getvalue()


def make(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def images(root: Path, *exclude: str) -> tuple[list[str], Counter[str]]:
    """As the tools find them, after a check that the examples find the same."""
    folder = Folder(root, exclude)
    found = folder.images()
    assert example.find_images(root, exclude) == (found, folder.passed_over)
    return [path.relative_to(root).as_posix() for path in found], folder.passed_over


def test_a_file_is_what_its_first_bytes_say_whatever_its_name(tmp_path: Path) -> None:
    names = ["a.jfif", "b.jpe", "c", "d.txt", "e.jpg", "f.JPEG"]
    for kind, content in IMAGES.items():
        make(tmp_path / kind, dict.fromkeys(names, content))
    make(
        tmp_path,
        {"notes.txt": b"text", "none": b"text", "g.jpg": b"", "film.mp4": b"\0\0\0\x20ftypisom"},
    )
    found, passed_over = images(tmp_path)
    assert found == sorted(f"{kind}/{name}" for kind in IMAGES for name in names)
    assert passed_over == {
        "suffix .txt": 1,
        "no suffix and no image's first bytes": 1,
        "empty": 1,
        "suffix .mp4": 1,
    }


def test_a_damaged_image_is_no_other_file(tmp_path: Path) -> None:
    """Its error is worth a line."""
    make(tmp_path, {"a.jpg": b"no image", "b.png": b"\0" * 500})
    assert images(tmp_path)[0] == ["a.jpg", "b.png"]


def test_files_that_programs_and_systems_add_to_images_are_passed_over(tmp_path: Path) -> None:
    jpeg = IMAGES["JPEG"]
    hidden = [".a.jpg", "._a.jpg", ".trash/a.jpg", "b/.thumbnails/x/a.jpg"]
    bins = [
        "@eaDir/a.jpg/M.jpg",
        "b/#recycle/a.jpg",
        "$RECYCLE.BIN/a.jpg",
        "__MACOSX/b/a.jpg",
        "@Recycle/a.jpg",
        "@tmp/a.jpg",
        "lost+found/a.jpg",
        "System Volume Information/a.jpg",
    ]
    make(tmp_path, dict.fromkeys(["a.jpg", "b/a.jpg", "Thumbs.db", *hidden, *bins], jpeg))
    found, passed_over = images(tmp_path)
    assert found == ["a.jpg", "b/a.jpg"]
    assert passed_over.pop("hidden") == len(hidden)
    assert passed_over == {
        "in @eaDir": 1,
        "in #recycle": 1,
        "in $RECYCLE.BIN": 1,
        "in __MACOSX": 1,
        "in @Recycle": 1,
        "in @tmp": 1,
        "in lost+found": 1,
        "in System Volume Information": 1,
        "in Thumbs.db": 1,
    }


def test_the_folder_that_was_asked_for_may_have_any_name(tmp_path: Path) -> None:
    make(tmp_path / ".hidden" / "@eaDir", {"a.jpg": IMAGES["JPEG"]})
    assert images(tmp_path / ".hidden" / "@eaDir") == (["a.jpg"], Counter())


def test_links_are_followed_each_folder_is_read_once_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make(tmp_path, {"root/z/1.jpg": IMAGES["JPEG"], "elsewhere/2.jpg": IMAGES["PNG"]})
    (root / "a").symlink_to(root / "z", target_is_directory=True)
    (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "c").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "z" / "loop").symlink_to(root, target_is_directory=True)
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "root" / "b", target_is_directory=True)
    (root / "3.jpg").symlink_to(root / "z" / "1.jpg")
    (root / "gone").symlink_to(tmp_path / "gone")
    (root / "itself").symlink_to(root / "itself")
    found, passed_over = images(root)
    # A file keeps the path by which it lies there.
    assert found == ["3.jpg", "b/2.jpg", "z/1.jpg"]
    assert passed_over == {"a link to a folder that was read already": 4, "a broken link": 2}
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert images(tmp_path / "link")[0] == found


def test_patterns_leave_out_names_and_paths(tmp_path: Path) -> None:
    names = ["a.gif", "b.jpg", "2019/c.jpg", "2019/d.gif", "new/2019/e.jpg"]
    make(tmp_path, dict.fromkeys(names, IMAGES["GIF"]))
    assert images(tmp_path, "*.gif") == (
        ["2019/c.jpg", "b.jpg", "new/2019/e.jpg"],
        {"excluded": 2},
    )
    assert images(tmp_path, "new/*", "b.*")[0] == ["2019/c.jpg", "2019/d.gif", "a.gif"]
    assert images(tmp_path, "2019") == (["a.gif", "b.jpg"], {"excluded": 3})


def test_one_line_says_how_many_and_why() -> None:
    assert summary(Counter()) == ""
    counted = Counter({"hidden": 1})
    assert summary(counted) == "Passed over 1 file: 1 hidden."
    counted.update({"suffix .txt": 1200})
    assert summary(counted) == "Passed over 1,201 files: 1,200 suffix .txt, 1 hidden."
    heic = summary(Counter({"suffix .heic": 2, "suffix .hif": 1}))
    assert heic.endswith(
        ": 2 suffix .heic, 1 suffix .hif. To take the 3 in HEIC, add OPTIONS=--heic."
    )


def test_a_large_folder_shows_that_it_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [Path("a"), Path("b")]
    assert list(progress(iter(paths), "Looking through photos", delay=0)) == paths
    assert "Looking through photos: 0 files" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert images(tmp_path) == ([], {"no file": 1})


@pytest.mark.parametrize("seed", range(10))
def test_generated_folders_are_read_alike_by_tools_and_examples(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    folders = [tmp_path]
    parts = ["a", ".b", "@eaDir", "Lost+Found", "#Recycle", "ä ö", "__macosx", "c.jpg"]
    names = ["1.jpg", "2.JFIF", "3", "4.txt", ".5.png", "._6.jpg", "Thumbs.db", "7.heic", "8.%"]
    contents = [*IMAGES.values(), b"", b"text", b"BM", b"\0" * 20, b"\0\0\0\x18ftypheic"]
    for _ in range(60):
        folder, choice = draw.choice(folders), draw.random()
        if choice < 0.2:
            folders.append(folder / draw.choice(parts))
            folders[-1].mkdir(exist_ok=True)
        elif choice < 0.3 and not (link := folder / f"link {draw.randrange(5)}").exists():
            if not link.is_symlink():
                link.symlink_to(draw.choice([*folders, tmp_path / "none"]))
        elif not (file := folder / draw.choice(names)).exists():
            file.write_bytes(draw.choice(contents))
    images(tmp_path, *draw.choice([[], ["*.txt"], ["a/*"]]))
