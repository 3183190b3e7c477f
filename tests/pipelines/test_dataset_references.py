"""A version may refer to data where they are: used without a copy, refused once they are not what they were."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from data_files import images, write_idx, write_images

from pipelines import dataset
from pipelines.config import resolve
from pipelines.data.options import Options
from pipelines.looking import looking
from pipelines.train import run as train
from registry.backend import Backend
from registry.backend_references import check_scheme, name_of, uri_of
from registry.errors import BadData, MissingDependency, RegError, UsageError
from registry.provenance import Provenance
from registry.records import Version


def push(backend: Backend, folder: Path, name: str, *, refer: bool = True) -> dataset.Pushed:
    with looking(backend.settings, folder, Options(name=name), take=not refer) as look:
        return dataset.push(backend, look, refer=refer)


def stored(backend: Backend) -> bytes:
    """All bytes that the server keeps, whatever files it keeps them in."""
    return b"".join(path.read_bytes() for path in (backend.settings.home / "blobs").rglob("*") if path.is_file())


def test_data_that_are_referred_to_are_used_where_they_are(backend: Backend, tmp_path: Path) -> None:
    folder = write_images(
        tmp_path / "pets # 1", {f"train/{k % 2}/a pet {k}.png": pixels for k, pixels in enumerate(images(80))}
    )
    version = push(backend, folder, "pets").version
    found = backend.download(version)
    links = {path.relative_to(found).as_posix(): os.readlink(path) for path in found.rglob("*") if path.is_symlink()}
    assert links == {str(p.relative_to(folder)): str(p) for p in folder.rglob("*.png")}
    assert not [p for p in folder.rglob("*.png") if p.read_bytes() in stored(backend)]
    spec = dataset.opened(backend, version, found).spec
    assert (spec.referred, spec.items) == (True, 80)


def test_the_data_themselves_make_another_version_than_a_reference_to_them(backend: Backend, tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "data")
    referred, stored = push(backend, folder, "both"), push(backend, folder, "both", refer=False)
    again = push(backend, folder, "both")
    assert (referred.is_new, stored.is_new, again.is_new) == (True, True, False)
    assert (stored.version.index, again.version.index) == (1, 0)


def test_training_on_a_reference_copies_nothing(backend: Backend, tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "data", train=60)
    version = push(backend, folder, "noise").version
    config = resolve(task="image-classification", assignments=["device=cpu", "epochs=1", "model.width=2"])
    made = train(backend, version, config, name="model", by=Provenance(actor="a test"), progress=_silent)
    assert made.file.training.items > 40
    assert all(path.is_symlink() for path in backend.download(version).glob("*.gz"))


@pytest.fixture(scope="module")
def pushed(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Version]:
    folder = write_idx(tmp_path_factory.mktemp("pushed") / "data")
    return folder, push(backend, folder, "changing").version


@pytest.fixture
def referred(backend: Backend, pushed: tuple[Path, Version]) -> Iterator[tuple[Path, Version]]:
    """A folder and the version that refers to it, which nobody has used; the folder is put back afterwards."""
    folder, version = pushed
    place = backend.settings.home / "downloads" / "md5" / version.digest.hex
    shutil.rmtree(place, ignore_errors=True)
    place.with_name(f"{place.name}.links.json").unlink(missing_ok=True)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    yield folder, version
    for path, content in before.items():
        path.write_bytes(content)


def _change(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize("first", ["never used", "used"])
def test_a_changed_file_is_refused_and_the_old_one_taken_again(
    backend: Backend, referred: tuple[Path, Version], first: str
) -> None:
    folder, version = referred
    if first == "used":
        backend.download(version)
    file = folder / "train-labels-idx1-ubyte.gz"
    old = file.read_bytes()
    _change(file)
    with pytest.raises(
        BadData, match=rf"train-labels-idx1-ubyte.gz is no longer what '{version}' refers to: its md5 was"
    ) as no:
        backend.download(version)
    assert no.value.hint is not None
    assert "reg dataset push --reference" in no.value.hint
    file.write_bytes(old)
    assert (backend.download(version) / file.name).read_bytes() == old


def test_a_file_that_is_gone_is_named(backend: Backend, referred: tuple[Path, Version]) -> None:
    folder, version = referred
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(BadData, match=r"train-labels-idx1-ubyte.gz is no longer .* cannot be read: No such file"):
        backend.download(version)


def test_a_file_is_read_again_only_when_it_was_touched(
    backend: Backend, referred: tuple[Path, Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, version = referred
    backend.download(version)
    hashed: list[str] = []
    from registry import backend_references

    compare = backend_references._compare
    monkeypatch.setattr(backend_references, "_compare", lambda path, *rest: (hashed.append(path), compare(path, *rest)))
    backend.download(version)
    assert hashed == []
    os.utime(folder / "t10k-labels-idx1-ubyte.gz")
    backend.download(version)
    assert hashed == [str(folder / "t10k-labels-idx1-ubyte.gz")]


def test_pulling_a_reference_gives_verified_copies(backend: Backend, referred: tuple[Path, Version], tmp_path: Path) -> None:
    folder, version = referred
    backend.download(version)
    copies = backend.export(version, tmp_path / "copies")
    assert not any(path.is_symlink() for path in copies.rglob("*"))
    assert all((copies / path.name).read_bytes() == path.read_bytes() for path in folder.glob("*.gz"))
    _change(folder / "train-images-idx3-ubyte.gz")
    with pytest.raises(BadData, match="is no longer what"):
        backend.export(version, tmp_path / "again")
    assert not (tmp_path / "again").exists()


# Objects on servers: HTTP here, which the SDK treats as it does S3, by ETag.


class Objects(http.server.BaseHTTPRequestHandler):
    """Serves bytes with or without an ETag."""

    content: bytes = b""
    tagged = True

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        if self.tagged:
            self.send_header("ETag", f'"{hashlib.md5(self.content).hexdigest()}"')
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[type[Objects], str]]:
    """A place on the network that holds one archive of images, and its URI."""
    np.savez(tmp_path / "data.npz", images=images(40), labels=np.arange(40) % 2)
    handler = type("Handler", (Objects,), {"content": (tmp_path / "data.npz").read_bytes()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{server.server_port}/data.npz"
        server.shutdown()


def test_an_object_is_known_by_its_checksum_and_described_when_it_is_read(
    backend: Backend, store: tuple[type[Objects], str]
) -> None:
    handler, uri = store
    version = dataset.refer(backend, uri, Options(name="far", test_fraction=0.5)).version
    assert not dataset.is_described(version)
    assert backend.files(version) == {"data.npz": len(handler.content)}
    spec = dataset.description(backend, version)
    assert (spec.name, spec.format, {name: split.items for name, split in spec.splits.items()}) == (
        "far",
        "npz",
        {"train": 20, "test": 20},
    )
    split = dataset.opened(backend, version, backend.download(version)).split("test")
    assert len(split) == 20


def test_an_object_that_changed_is_refused(backend: Backend, store: tuple[type[Objects], str]) -> None:
    handler, uri = store
    handler.content += b"old"
    version = dataset.refer(backend, uri, Options(name="changing-far")).version
    handler.content += b"new"
    with pytest.raises(BadData, match=rf"{uri} is no longer what '{version}' refers to: Digest mismatch"):
        backend.download(version)


def test_an_object_without_a_checksum_is_refused(backend: Backend, store: tuple[type[Objects], str]) -> None:
    handler, uri = store
    handler.tagged = False
    with pytest.raises(BadData, match=f"{uri} has no ETag"):
        dataset.refer(backend, uri, Options(name="untagged"))


@pytest.mark.parametrize(
    ("uri", "error", "message", "hint"),
    [
        ("s3://bucket/data", MissingDependency, "s3://bucket need boto3, which is not installed", "pip install 'wandb[aws]'"),
        ("gs://bucket/data", MissingDependency, "need google-cloud-storage", "pip install 'wandb[gcp]'"),
        ("https://a.blob.core.windows.net/c", MissingDependency, "need azure-storage-blob", "pip install 'wandb[azure]'"),
        (
            "ftp://host/data",
            UsageError,
            "no checksum can be had of 'ftp://host/data'",
            "reg dataset push --reference /mount/data",
        ),
    ],
    ids=["s3", "gs", "azure", "no checksums"],
)
def test_what_cannot_be_referred_to_says_why(
    uri: str, error: type[RegError], message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry import backend_references

    monkeypatch.setattr(backend_references, "_is_there", lambda module: False)
    with pytest.raises(error, match=message) as refusal:
        check_scheme(uri)
    assert refusal.value.hint == hint


@pytest.mark.parametrize("uri", ["https://host/a.npz", "http://host/a.npz", "file:///data"])
def test_what_needs_no_package_is_accepted(uri: str) -> None:
    check_scheme(uri)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/pets/v3/", "v3"),
        ("s3://bucket", "bucket"),
        ("https://host/data/mnist.tar.gz", "mnist"),
        ("gs://bucket/My%20data", "My data"),
    ],
)
def test_what_lies_at_a_uri_is_called_after_it(uri: str, name: str) -> None:
    assert name_of(uri) == name


def test_a_path_survives_its_uri() -> None:
    assert uri_of("/a b/c#d%20é.png") == "file:///a%20b/c%23d%2520%C3%A9.png"


def _silent(title: str) -> AbstractContextManager[Callable[[int, int], None]]:
    return nullcontext(lambda done, total: None)
