"""The cache of decoded images: content, atomicity, and images that cannot be used."""

from __future__ import annotations

import multiprocessing
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmad.base.errors import DataError
from mmad.data import image_cache as cache_module
from mmad.data.dataset import DataSet
from mmad.data.image_cache import building, cache_contents, clear_cache, image_cache
from mmad.data.reader import load_dataset


def _bytes_of(root: str) -> bytes:
    return image_cache(load_dataset(root), 32).tobytes()


def test_every_image_in_order_grey_and_square(tiny: Path) -> None:
    heard: list[tuple[int, int]] = []
    images = image_cache(load_dataset(tiny), 32, lambda done, whole: heard.append((done, whole)))
    assert images.shape == (4, 32, 32)
    assert images.dtype == np.uint8
    assert images[1].tolist() == np.full((32, 32), 20).tolist()
    assert images[0, 16, 8] == 250
    assert images[0, 16, 28] == 0
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert not images.flags.writeable


def test_it_is_decoded_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(tiny)
    first = np.array(image_cache(dataset, 32))
    monkeypatch.setattr(cache_module, "decode", None)
    assert np.array_equal(image_cache(dataset, 32), first)


def test_a_changed_image_is_decoded_anew_a_changed_table_is_not(
    tiny: Path, change: Callable[[str, str, str], Path], cache: Path
) -> None:
    image_cache(load_dataset(tiny), 32)
    change("studies.csv", "40,98.6,F", "41,98.6,F")
    image_cache(load_dataset(tiny), 32)
    assert len(list((cache / "images").iterdir())) == 1
    Image.new("L", (40, 20), 99).save(tiny / "images" / "d.png")
    assert image_cache(load_dataset(tiny), 32)[3].min() == 99


def test_a_file_of_the_wrong_length_is_built_anew(tiny: Path, cache: Path) -> None:
    first = np.array(image_cache(load_dataset(tiny), 32))
    (file,) = (cache / "images").iterdir()
    os.truncate(file, 100)
    assert np.array_equal(image_cache(load_dataset(tiny), 32), first)


def test_an_undecodable_image_is_named_and_nothing_stays(tiny: Path, cache: Path) -> None:
    (tiny / "images" / "c.png").write_bytes(b"no picture at all")
    with pytest.raises(DataError, match=r"images/c.png: study 'c': image cannot be decoded \(not an image\)"):
        image_cache(load_dataset(tiny), 32)
    assert list((cache / "images").iterdir()) == []


def test_a_truncated_image_is_named(tiny: Path) -> None:
    data = (tiny / "images" / "a.png").read_bytes()
    (tiny / "images" / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"images/a.png: study 'a': image cannot be decoded"):
        image_cache(load_dataset(tiny), 32)


def test_a_size_that_disagrees_with_the_row_is_refused(tiny: Path) -> None:
    Image.new("L", (41, 20)).save(tiny / "images" / "b.png")
    with pytest.raises(DataError, match=r"study 'b': image is 41 x 20 px where studies.csv says 40 x 20"):
        image_cache(load_dataset(tiny), 32)


def test_sixteen_bits_and_colours_become_grey(tiny: Path) -> None:
    Image.fromarray(np.full((20, 40), 0x8000, dtype=np.uint16)).save(tiny / "images" / "a.png")
    Image.new("RGB", (40, 20), (50, 50, 50)).save(tiny / "images" / "b.png")
    Image.new("1", (40, 20), 1).save(tiny / "images" / "c.png")
    images = image_cache(load_dataset(tiny), 32)
    assert [int(images[i].max()) for i in range(3)] == [128, 50, 255]


def test_a_cache_that_cannot_be_written_is_a_clear_line(tiny: Path, cache: Path) -> None:
    cache.write_text("in the way", encoding="utf-8")
    with pytest.raises(DataError, match=r"decoded images cannot be written.*MMAD_CACHE"):
        image_cache(load_dataset(tiny), 32)


def test_the_bytes_do_not_depend_on_the_workers(phantom: DataSet) -> None:
    found = set()
    for workers in (1, 3, 16):
        found.add(image_cache(phantom, 32, workers=workers).tobytes())
        clear_cache()
    assert len(found) == 1


def test_the_first_image_that_is_wrong_is_named_however_many_decode(tiny: Path) -> None:
    for name in "dcb":
        (tiny / "images" / f"{name}.png").write_bytes(b"no picture at all")
    with pytest.raises(DataError, match=r"study 'b'"):
        image_cache(load_dataset(tiny), 32, workers=4)


def test_readings_of_one_image_share_its_pixels(change: Callable[[str, str, str], Path]) -> None:
    dataset = load_dataset(change("studies.csv", "images/b.png", "images/a.png"))
    images = image_cache(dataset, 32)
    assert images.shape == (3, 32, 32)
    assert dataset.image_rows.tolist() == [0, 0, 1, 2]
    assert dataset.image_studies == (0, 2, 3)


def test_one_image_with_two_sizes_is_refused(change: Callable[[str, str, str], Path]) -> None:
    dataset = load_dataset(change("studies.csv", "images/b.png,40,20", "images/a.png,40,21"))
    with pytest.raises(DataError, match=r"study 'b': image is 40 x 20 px where studies.csv says 40 x 21"):
        image_cache(dataset, 32)


def test_users_of_a_group_can_read_and_wait_for_what_another_builds(tiny: Path, cache: Path) -> None:
    seen: dict[str, int] = {}

    def look(done: int, whole: int) -> None:
        for path in (cache, *cache.rglob("*")):
            seen[path.suffix or path.name] = stat.S_IMODE(path.stat().st_mode)

    before = os.umask(0o002)
    try:
        image_cache(load_dataset(tiny), 32, look)
    finally:
        os.umask(before)
    look(4, 4)
    folders = {"cache": 0o775, "images": 0o775}
    assert {name: seen.pop(name) for name in folders} == folders
    assert {".u8", ".part", ".lock"} <= seen.keys()
    assert set(seen.values()) == {0o664}


def test_an_interruption_leaves_nothing(tiny: Path, cache: Path) -> None:
    def interrupt(done: int, whole: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_cache(load_dataset(tiny), 32, interrupt)
    assert list((cache / "images").iterdir()) == []


def test_of_two_at_once_one_decodes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, decoded, plain = load_dataset(tiny), [], cache_module.decode

    def counted(one: DataSet, position: int) -> Image.Image:
        decoded.append(position)
        return plain(one, position)

    monkeypatch.setattr(cache_module, "decode", counted)
    both = [threading.Thread(target=image_cache, args=(dataset, 32)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(decoded) == [0, 1, 2, 3]


def test_what_a_killed_process_left_is_swept(tiny: Path, cache: Path) -> None:
    image_cache(load_dataset(tiny), 32)
    (file,) = (cache / "images").iterdir()
    part = file.with_name(f".{file.name}.abc.part")
    file.rename(part)
    image_cache(load_dataset(tiny), 32)
    assert list((cache / "images").iterdir()) == [file]


def test_a_lock_left_behind_holds_nobody_up(tiny: Path, cache: Path) -> None:
    image_cache(load_dataset(tiny), 32)
    (file,) = (cache / "images").iterdir()
    file.rename(file.with_suffix(".lock"))
    image_cache(load_dataset(tiny), 32)
    assert list((cache / "images").iterdir()) == [file]
    file.with_suffix(".lock").touch()  # of a process that was killed when the file was whole
    image_cache(load_dataset(tiny), 32)
    assert list((cache / "images").iterdir()) == [file]
    file.with_suffix(".lock").touch()
    clear_cache()
    assert list((cache / "images").iterdir()) == []


def test_a_second_builder_waits(tmp_path: Path) -> None:
    path, order = tmp_path / "new" / "some.u8", []

    def second() -> None:
        with building(path):
            order.append("second")

    with building(path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert list(path.parent.iterdir()) == []


def test_what_is_kept_is_told_and_cleared(tiny: Path, cache: Path) -> None:
    assert cache_contents().entries == ()
    dataset = load_dataset(tiny)
    image_cache(dataset, 32)
    image_cache(dataset, 64)
    (cache / "images" / "older.u8").write_bytes(b"123")
    told = cache_contents()
    assert {(entry.images, entry.image_size) for entry in told.entries} == {(4, 32), (4, 64), (None, None)}
    assert told.size == 4 * (32 * 32 + 64 * 64) + 3
    assert clear_cache().size == told.size
    assert list((cache / "images").iterdir()) == []


def test_what_is_being_built_is_not_cleared(cache: Path) -> None:
    folder = cache / "images"
    with building(folder / "4x32px-ab.u8"):
        part = folder / ".4x32px-ab.xyz.part"
        part.write_bytes(b"half")
        assert clear_cache().entries == ()
        assert part.exists()
    assert [entry.file for entry in clear_cache().entries] == [part.name]


@pytest.mark.slow
def test_two_processes_at_once_see_the_same(phantom: DataSet) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, two = pool.map(_bytes_of, [str(phantom.root)] * 2)
    assert one == two == _bytes_of(str(phantom.root))
