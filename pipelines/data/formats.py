"""Which format a folder is in, by the names of its files alone, and the way from a format's name to its reader.

A folder is one dataset in one format. Where it could be two, the person is asked: guessing would make the version depend on
the guess. Images are of three formats: in folders of their class, with a mask each, or named by a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pipelines.data import idx, image_folders, masks, npy, npz
from pipelines.data.album import Album
from pipelines.data.contents import Divided, Source
from pipelines.data.files import File, Files, joined
from pipelines.data.folder import Folder
from pipelines.data.inputs import Room
from pipelines.data.kinds import Format
from pipelines.data.options import SEED, TEST_FRACTION, Options
from pipelines.data.spec import Division, Rendering
from pipelines.data.splits import lacks_test
from pipelines.data.stacking import Stack
from pipelines.data.table_names import claims_csv, claims_parquet, names_a_table
from registry.errors import BadData

_CLAIMS: Mapping[Format, Callable[[File], bool]] = MappingProxyType(
    {
        "idx": idx.claims,
        "npz": npz.claims,
        "npy": npy.claims,
        "images": image_folders.claims,
        "csv": claims_csv,
        "parquet": claims_parquet,
    }
)
_OPEN: Mapping[Format, Callable[[Sequence[File], Options, Room], Source]] = MappingProxyType(
    {
        "idx": idx.open_idx,
        "npz": npz.open_npz,
        "npy": npy.open_npy,
    }
)
_IN_FOLDERS: tuple[Format, ...] = ("images", "masks", "metadata")
# Formats of few files, which packing would not make fewer.
NOT_SMALL: frozenset[Format] = frozenset({"idx", "npz", "npy", "csv", "parquet"})


def open_source(
    folder: Folder,
    options: Options,
    room: Room,
    *,
    rendering: Rendering | None,
    pictures: Album | None = None,
) -> tuple[Format, Source]:
    """Find the data files of a folder and open them; data without a test split get one.

    Args:
        room: how much of a split is kept in memory.
        rendering: how image files become arrays.
        pictures: what is known of images, to count them without decoding; see `stacking.Stack`.
    Raises:
        BadData: no data, data of several formats or in several folders, or a reader refuses them.
    """
    claimed = _claimed(folder, options)
    format_ = _the_format(folder, claimed, options.format)
    files = claimed[format_]
    if not files.sizes.all():
        raise BadData(f"{files.names[int(files.sizes.argmin())]} is empty (0 bytes)", hint="fetch the file again, or remove it")
    if format_ not in _IN_FOLDERS:
        _check_one_place(files, folder)
        _refuse_to_render(format_, options)
    elif options.fit and not options.size:
        raise BadData(f"fit is {options.fit}, and there is no size to fit into", hint=f"--size 224 --fit {options.fit}")
    division = Division(
        seed=SEED if options.seed is None else options.seed,
        test_fraction=TEST_FRACTION if options.test_fraction is None else options.test_fraction,
    )
    source: Source
    if format_ in _IN_FOLDERS:
        source = _open_pictures(format_, files, options, room, rendering=rendering, pictures=pictures, where=folder.root)
    elif format_ in _OPEN:
        source = _OPEN[format_](files, options, room)
    else:
        return format_, _open_tables(files, options, division, room)
    if lacks_test(source.splits) and division.test_fraction:
        source = Divided(source, division)
    return format_, source


def _open_pictures(
    format_: Format,
    files: Files,
    options: Options,
    room: Room,
    *,
    rendering: Rendering | None,
    pictures: Album | None,
    where: Path,
) -> Source:
    images: Sequence[File] = files
    if format_ == "masks":
        images = [file for file in files if not masks.is_mask(file)]
    elif format_ == "metadata":
        images = files.at(image_folders.are_images(files))
    stack = Stack(images, rendering=rendering, known=pictures, room=room, where=where)
    if format_ == "masks":
        return masks.open_masks(files, options, stack, rendering)
    if format_ == "metadata":
        from pipelines.data import metadata

        return metadata.open_metadata(files, options, stack)
    return image_folders.open_images(files, options, stack)


def _refuse_to_render(format_: Format, options: Options) -> None:
    said = next((name for name in ("size", "fit", "levels") if getattr(options, name) is not None), None)
    if said is not None:
        raise BadData(f"{said} is for image files, and these are data of the format {format_}", hint=f"leave out {said}")


def _open_tables(files: Sequence[File], options: Options, division: Division, room: Room) -> Source:
    from pipelines.data import large_tables, tables

    found = tables.by_split(files)
    if all(claims_parquet(file) for file in files) and any(large_tables.too_large(some, room) for some in found.values()):
        return large_tables.LargeTableSource(found, options, division, room)
    return tables.TableSource(found, options, division)


def _claimed(folder: Folder, options: Options) -> dict[Format, Files]:
    """The files by the format that they would be data of; images by what stands beside them, or by what was said."""
    are_images = image_folders.are_images(folder.files)
    images = folder.files.at(are_images)
    others = [*folder.files.at(~are_images)]  # images are tens of thousands, and nobody else need look at them
    found = {format_: Files.of(filter(claims, others)) for format_, claims in _CLAIMS.items()} | {"images": images}
    csv, none = found["csv"], Files.of(())
    said = options.format or (_OF_TASK.get(options.task) if options.task else None)
    if len(images) and len(csv) and said in (None, "metadata") and (said or all(map(names_a_table, csv))):
        found |= {"metadata": joined(images, csv), "images": none, "csv": none}
    elif len(images) and said in (None, "masks") and (said or masks.are_paired(images)):
        found |= {"masks": images, "images": none}
    return found


_OF_TASK: Mapping[str, Format] = MappingProxyType(
    {"image-classification": "images", "semantic-segmentation": "masks", "image-regression": "metadata"}
)


def _the_format(folder: Folder, claimed: Mapping[Format, Sequence[File]], said: Format | None) -> Format:
    found = [format_ for format_, files in claimed.items() if len(files)]
    if said in found:
        return said
    if said is not None:
        raise BadData(
            f"{folder.root} holds no {said} files, only {_listed(folder.files)}", hint="reg dataset push path/to/data"
        )
    if not found:
        raise BadData(
            f"{folder.root} holds no data that reg knows, only {_listed(folder.files)}"
            if len(folder.files)
            else f"{folder.root} is empty",
            hint="IDX (*-images-idx3-ubyte.gz), folders of images, .npz, .npy, .csv and .parquet are known",
        )
    if len(found) > 1:
        kinds = " and ".join(f"{len(claimed[kind])} × {kind} (such as {claimed[kind][0].name})" for kind in found)
        raise BadData(f"{folder.root} holds {kinds}: which are the data?", hint=f"--format {found[0]}")
    return found[0]


def _check_one_place(files: Sequence[File], folder: Folder) -> None:
    parents = sorted({file.parent for file in files})
    if len(parents) > 1:
        places = [str(folder.root / parent) for parent in parents]
        raise BadData(
            f"{folder.root} holds data in {len(places)} folders ({', '.join(places[:3])}): which one is meant?",
            hint=f"reg dataset push '{places[-1]}'",
        )


def _listed(files: Sequence[File]) -> str:
    names = ", ".join(file.name for file in files[:3])
    return f"{names} and {len(files) - 3} more" if len(files) > 3 else names
