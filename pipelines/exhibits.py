"""Pictures of the few items that a verdict's page shows, from the dataset they were scored on.

A page is read by people who were not there, and a digit says more than `test/4711`. Of a large folder of images only the files
that are shown are fetched; an array or a shard is one file, so it is fetched whole, up to a size. Whatever stands in the way is
said on the page and never stops a gate: pictures are no evidence. Rows of tables need none, their values stand in the
evaluation.
"""

from __future__ import annotations

import base64
import io
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.files import File, Files
from pipelines.data.image_folders import open_images
from pipelines.data.options import Options
from pipelines.data.packs import is_shard
from pipelines.data.reading import load
from pipelines.data.spec import DESCRIPTION, DatasetSpec
from pipelines.data.splits import TRAIN, split_named
from pipelines.data.stacking import Stack
from registry.backend import Backend
from registry.errors import BadData, RegError
from registry.records import Version
from registry.verdicts import Case
from registry.verdicts.flips import items_shown

SIDE = 80  # pixels of a thumbnail, at most
LARGEST = 1 << 28  # bytes of a dataset that is fetched whole
_COLOURS = {1: 0, 3: 2}  # channels, and PNG's word for them

Pixels = NDArray[np.uint8]


def with_pictures(backend: Backend, case: Case, dataset: Version) -> Case:
    """The case with pictures of the items its page shows, or with the reason why there are none."""
    items = items_shown(case)
    if not items:
        return case
    try:
        spec = DatasetSpec.from_json(backend.read_file(dataset, DESCRIPTION).decode(errors="replace"), file=str(dataset))
        if spec.input.kind != "image":
            return case
        loose = spec.format == "images" and not any(map(is_shard, backend.files(dataset)))
        found = _from_files if loose else _from_arrays
        pictures = {item: picture(pixels) for item, pixels in found(backend, dataset, spec, items)}
    except RegError as exc:
        return replace(case, unseen=f"There are no pictures of the items: {exc}")
    missing = len(items) - len(pictures)
    return replace(case, pictures=pictures, unseen=f"{missing} of them were not found in the data." if missing else "")


def picture(pixels: Pixels) -> str:
    """An image of shape (height, width, channels) as a data URI, small enough that 24 of them fit on a page."""
    return f"data:image/png;base64,{base64.b64encode(_png(_thumbnail(pixels))).decode()}"


def _from_files(backend: Backend, dataset: Version, spec: DatasetSpec, items: Sequence[str]) -> Iterator[tuple[str, Pixels]]:
    names, content = _files_by_end(backend.files(dataset)), _reader(backend, dataset)
    for item in items:
        split, _, inside = item.partition("/")
        # Without a split of its own in the folder's names, the file lies where `reg` cut the split from.
        found = [name for name in names.get(inside.rpartition("/")[2], ()) if f"/{name}".endswith(f"/{inside}")]
        of_split = [name for name in found if split in map(split_named, name.split("/"))]
        if len(of_split or found) == 1:
            name = (of_split or found)[0]
            yield item, _decoded(name, content(name), spec)


def _reader(backend: Backend, dataset: Version) -> Callable[[str], bytes]:
    """Gives the content of a file. What was scored here is on this disk already, so a small dataset is read from there."""
    if dataset.size > LARGEST:
        return lambda name: backend.read_file(dataset, name)
    folder = backend.download(dataset)
    return lambda name: (folder / name).read_bytes()


def _decoded(name: str, content: bytes, spec: DatasetSpec) -> Pixels:
    """One image as every other of its dataset is read; its folders, which say its class, do not matter here."""
    suffix = Path(name).suffix
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{suffix}"
        path.write_bytes(content)
        file = Files.of([File(name=f"{TRAIN}/{spec.labels[0]}/image{suffix}", path=str(path), size=len(content))])
        source = open_images(file, Options(labels=spec.labels), Stack(file, rendering=spec.rendering))
        return np.asarray(source.read(TRAIN, lambda _: None).inputs[0])


def _files_by_end(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition("/")[2], []).append(name)
    return found


def _from_arrays(backend: Backend, dataset: Version, spec: DatasetSpec, items: Sequence[str]) -> Iterator[tuple[str, Pixels]]:
    split = items[0].partition("/")[0]
    size = max(dataset.size, spec.splits[split].bytes if split in spec.splits else 0)
    if size > LARGEST:
        most = f"{LARGEST / 2**20:,.0f} MiB"
        raise BadData(f"{dataset} is {size / 2**20:,.0f} MiB, arrays and shards are fetched for pictures up to {most}")
    data = load(backend.download(dataset), memory=0).split(split)  # of an array on disk, only what is shown is read
    position = {item: at for at, item in enumerate(data.items.tolist())}
    yield from ((item, data.inputs[position[item]]) for item in items if item in position)


def _thumbnail(pixels: Pixels) -> Pixels:
    """At most `SIDE` pixels wide and high, each the mean of those it stands for; transparent ones on white."""
    if pixels.shape[2] == 4:
        opaque = pixels[..., 3:].astype(np.float64) / 255
        pixels = (pixels[..., :3] * opaque + 255 * (1 - opaque)).round().astype(np.uint8)
    height, width, _ = pixels.shape
    most = max(height, width)
    if most <= SIDE:
        return pixels
    small = [max(1, round(length * SIDE / most)) for length in (height, width)]
    rows, columns = (np.arange(to) * length // to for to, length in zip(small, (height, width), strict=True))
    sums: NDArray[Any] = np.add.reduceat(np.add.reduceat(pixels.astype(np.uint64), rows, axis=0), columns, axis=1)
    counts = np.diff(rows, append=height)[:, None, None] * np.diff(columns, append=width)[None, :, None]
    return np.asarray((sums / counts).round(), dtype=np.uint8)


def _png(pixels: Pixels) -> bytes:
    """Written here because a machine that only promotes has no Pillow; the same bytes for the same pixels."""
    height, width, channels = pixels.shape
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")):
        out.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
    return out.getvalue()
