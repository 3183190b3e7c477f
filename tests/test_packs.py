"""Small blobs in one file: to everybody but `packs` they are blobs like any other, and a crash leaves nothing by halves."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.errors import BadData, NotFound
from registry.server import batches
from registry.server.batches import Batch
from registry.server.blobs import PREFIXES, Blobs

SMALL = [f"content {number}".encode() for number in range(100)]
LARGE = bytes(range(256)) * 300


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write(folder: Path, contents: list[bytes]) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [folder / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def put(blobs: Blobs, paths: list[str]) -> list[str]:
    with Batch(blobs) as batch:
        found = [batch.add(path).md5 for path in paths]
        batch.keep()
    return found


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """A blob folder with a hundred small blobs and one larger."""
    blobs = Blobs(tmp_path / "blobs")
    assert put(blobs, write(tmp_path / "source", [*SMALL, LARGE])) == [md5(content) for content in (*SMALL, LARGE)]
    return blobs


def packs(blobs: Blobs) -> list[Path]:
    return sorted((blobs.folder / "packs").glob("*.pack"))


def test_small_files_share_one_file_and_a_larger_one_has_its_own(blobs: Blobs) -> None:
    assert [path.stat().st_size for path in packs(blobs)] == [sum(map(len, SMALL))]
    assert blobs.path(md5(LARGE)).read_bytes() == LARGE


def test_a_packed_blob_is_read_like_any_other(blobs: Blobs) -> None:
    name = md5(SMALL[7])
    assert (blobs.has(name), blobs.size(name), blobs.read(name)) == (True, len(SMALL[7]), SMALL[7])
    assert b"".join(blobs.pieces(name, start=2, stop=5)) == SMALL[7][2:5]
    assert blobs.digest(name) == name
    assert blobs.sizes([name, md5(b"none")]) == {name: len(SMALL[7])}
    assert blobs.written(name) == pytest.approx(packs(blobs)[0].stat().st_mtime, abs=60)


def test_every_blob_is_listed_once(blobs: Blobs) -> None:
    blobs.write([SMALL[3]])
    listed = [blob.md5 for prefix in PREFIXES for blob in blobs.listing(prefix)]
    assert listed == sorted(md5(content) for content in (*SMALL, LARGE))


def test_another_process_sees_what_was_packed_since_it_looked(tmp_path: Path) -> None:
    watching = Blobs(tmp_path / "blobs")
    assert not watching.has(md5(SMALL[0]))
    put(Blobs(tmp_path / "blobs"), write(tmp_path / "source", SMALL))
    assert watching.read(md5(SMALL[0])) == SMALL[0]


def test_bytes_that_are_stored_are_not_stored_again(blobs: Blobs, tmp_path: Path) -> None:
    put(blobs, write(tmp_path / "again", [*SMALL, LARGE, b"one more"]))
    assert sorted(path.stat().st_size for path in packs(blobs)) == [len(b"one more"), sum(map(len, SMALL))]


def test_what_is_discarded_is_gone_and_its_room_comes_back(blobs: Blobs) -> None:
    gone, left = SMALL[:80], SMALL[80:]
    assert blobs.discard(map(md5, gone)) == []
    with pytest.raises(NotFound):
        blobs.read(md5(gone[0]))
    blobs.compact()
    assert [path.stat().st_size for path in packs(blobs)] == [sum(map(len, left))]
    assert [blobs.read(md5(content)) for content in left] == left


def test_a_pack_of_which_nothing_is_left_goes(blobs: Blobs) -> None:
    for path in blobs.discard(map(md5, SMALL)):
        path.unlink()
    assert packs(blobs) == []


def test_a_damaged_packed_blob_is_found_set_aside_and_mended(blobs: Blobs) -> None:
    raw = packs(blobs)[0].read_bytes()
    packs(blobs)[0].write_bytes(raw.replace(SMALL[42], b"damaged!!!"))
    name = md5(SMALL[42])
    assert blobs.digest(name) != name
    aside = blobs.quarantine(name)
    assert aside is not None
    assert aside.read_bytes() == b"damaged!!!"
    assert not blobs.has(name)
    blobs.write([SMALL[42]], expected=name)
    assert blobs.read(name) == SMALL[42]


def test_a_right_packed_blob_is_not_set_aside(blobs: Blobs) -> None:
    assert blobs.quarantine(md5(SMALL[42])) is None
    assert blobs.has(md5(SMALL[42]))


def test_a_batch_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    with Batch(blobs) as batch:
        for path in write(tmp_path / "source", [*SMALL, LARGE]):
            batch.add(path)
        assert not blobs.has(md5(SMALL[0]))
    assert not blobs.has(md5(LARGE))
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []


def test_a_process_killed_in_the_middle_of_a_batch_leaves_nothing(tmp_path: Path) -> None:
    paths = write(tmp_path / "source", [*SMALL, LARGE])
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from registry.server.batches import Batch\nfrom registry.server.blobs import Blobs\n"
        "with Batch(Blobs(Path(sys.argv[1]))) as batch:\n"
        "    for path in sys.argv[2:]: batch.add(path)\n"
        "    batch._pack.sync()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "blobs"), *paths], check=False)
    assert done.returncode == -signal.SIGKILL
    blobs = Blobs(tmp_path / "blobs")
    assert blobs.sizes(md5(content) for content in (*SMALL, LARGE)) == {}
    assert blobs.remove_abandoned() == 2, "the pack and the folder of the large file"
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []


def test_what_somebody_is_writing_is_not_taken_for_abandoned(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    with Batch(blobs) as batch:
        for path in write(tmp_path / "source", [*SMALL, LARGE]):
            batch.add(path)
        assert Blobs(tmp_path / "blobs").remove_abandoned() == 0
        batch.keep()
    assert blobs.read(md5(SMALL[0])) == SMALL[0]


def test_many_batches_at_once_on_a_new_home(tmp_path: Path) -> None:
    paths = write(tmp_path / "source", SMALL)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(Blobs(tmp_path / "blobs"), paths[number::8]), range(8)))
    assert Blobs(tmp_path / "blobs").sizes(map(md5, SMALL)) == {md5(content): len(content) for content in SMALL}


@pytest.mark.parametrize("size", [100, 9 << 20], ids=["small", "large"])
def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write(tmp_path / "source", [bytes(size)])
    read = os.read

    def read_while_it_grows(descriptor: int, wanted: int) -> bytes:
        with open(path, "ab") as file:
            file.write(b"more")
        monkeypatch.setattr(batches.os, "read", read)
        return read(descriptor, wanted)

    monkeypatch.setattr(batches.os, "read", read_while_it_grows)
    blobs = Blobs(tmp_path / "blobs")
    with Batch(blobs) as batch, pytest.raises(BadData, match="changed while it was being read"):
        batch.add(path)


def test_without_a_sync_of_the_whole_file_system_each_file_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_library", lambda: None)
    contents = [bytes([number]) * (70 << 10) for number in range(80)]
    blobs = Blobs(tmp_path / "blobs")
    put(blobs, write(tmp_path / "source", contents))
    assert blobs.sizes(map(md5, contents)) == {md5(content): 70 << 10 for content in contents}
