"""`reg dataset push | pull | ls | show | diff`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import click

from pipelines.data.kinds import FITS, FORMATS, Task, size_of
from pipelines.data.remembered import remembered
from pipelines.data.walker import Walker
from registry.backend_references import check_scheme, name_of, path_of
from registry.cli.looking import size_text, version_data, versions_table
from registry.cli.params import ALIAS, FOLDER, REFERENCE, Session, session
from registry.connection import connecting
from registry.errors import UsageError
from registry.references import Reference, parse


class Place(click.ParamType[Path | str]):
    """A path, or the URI of what lies elsewhere."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        if isinstance(value, Path) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
            return Path(value)
        return str(value)


class Size(click.ParamType[tuple[int, int]]):
    """Height and width of what images become."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = size_of(value)
        if found is None:
            self.fail(f"'{value}' is no size; write 224, or HEIGHTxWIDTH such as 192x256", param, ctx)
        return found


class Levels(click.ParamType[tuple[int, int]]):
    """The values of an image that are black and white."""

    name = "black:white"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        low, _, high = value.partition(":")
        try:
            return int(low), int(high)
        except ValueError:
            self.fail(f"'{value}' is not BLACK:WHITE, such as 0:65535", param, ctx)


PLACE, SIZE, LEVELS = Place(), Size(), Levels()


@click.group(epilog="Examples: reg dataset push data/ --name mnist · reg dataset diff mnist:v1 mnist:v2")
def dataset() -> None:
    """Push, pull, list, show and compare dataset versions."""


@dataset.command(epilog="Examples: reg dataset push data/ · reg dataset push iris.csv --target species --name iris")
@click.argument("place", metavar="PATH|URI", type=PLACE)
@click.option("--name", metavar="NAME", help="Collection (default: name in dataset.yaml, else the folder's name).")
@click.option("--alias", "aliases", type=ALIAS, multiple=True, help="Alias for the version, besides 'latest'; repeatable.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Format (default: detected).")
@click.option("--task", type=click.Choice(get_args(Task)), help="What is to be learned (default: read off the data).")
@click.option("--target", "targets", metavar="COLUMN", multiple=True, help="Column to predict; repeatable for a regression.")
@click.option("--size", type=SIZE, help="What images of many sizes become: 224, or HEIGHTxWIDTH such as 192x256.")
@click.option("--fit", type=click.Choice(FITS), help="crop (default): fill the size, cut out the centre; pad: black around.")
@click.option("--levels", type=LEVELS, help="BLACK:WHITE, the values of images with more than 8 bits that become 0 and 255.")
@click.option(
    "--test-fraction", type=click.FloatRange(0, 1, max_open=True), help="Share to split off when there is no test split."
)
@click.option("--seed", type=click.IntRange(0), help="Seed of that split.")
@click.option("--pack", is_flag=True, help="Store many small files as a few tar shards (WebDataset).")
@click.option("--reference", is_flag=True, help="Leave the data where they are; log their places and checksums.")
@session
def push(
    session: Session,
    place: Path | str,
    name: str | None,
    aliases: tuple[str, ...],
    format_: Any,
    task: Any,
    targets: tuple[str, ...],
    size: tuple[int, int] | None,
    fit: Any,
    levels: tuple[int, int] | None,
    test_fraction: float | None,
    seed: int | None,
    pack: bool,
    reference: bool,
) -> None:
    """Make the files at PATH a dataset version: IDX, images in class folders, with masks or with a metadata.csv, .npz, .npy,
    CSV or Parquet, detected and checked first.

    A URI (s3://, gs://, https://) makes a version that refers to what lies there, as file:// and --reference do for files.
    """
    one, several = (targets[0], None) if len(targets) == 1 else (None, targets or None)
    said = {
        "name": name,
        "format": format_,
        "task": task,
        "target": one,
        "targets": several,
        "size": size,
        "fit": fit,
        "levels": levels,
        "test_fraction": test_fraction,
        "seed": seed,
    }
    if isinstance(place, str) and (here := path_of(place)) is not None:
        place, reference = here, True
    if pack and (reference or isinstance(place, str)):
        raise UsageError("--pack writes files anew, --reference leaves them where they are", hint="choose one of them")
    if isinstance(place, str):
        _refer(session, place, said, aliases)
    else:
        _push(session, place, said, aliases, pack=pack, reference=reference)


def _push(
    session: Session, place: Path, said: Mapping[str, Any], aliases: tuple[str, ...], *, pack: bool, reference: bool
) -> None:
    with ExitStack() as stack:
        connection = stack.enter_context(connecting(session.settings, at_once=place.exists()))
        expected = remembered(session.settings.home, place)
        walker = stack.enter_context(Walker(place, expected=expected))
        if expected:  # then little is new, and what takes time is to connect
            connection.load()
            connection.begin()
        # The server starts while these are loaded.
        from pipelines.cli.dataset_facts import tell
        from pipelines.data.options import Options
        from pipelines.looking import looking

        with session.output.progress("reading") as advance:
            look = stack.enter_context(
                looking(
                    session.settings,
                    place,
                    Options(**said),
                    pack=pack,
                    take=not reference,
                    on_progress=advance,
                    on_idle=connection.begin,
                    walked=walker.found,
                )
            )
        tell(session.output, look.found)
        backend = connection.backend()
        session.say_where(backend)
        from pipelines import dataset as stage  # loads the SDK, which is loaded by now

        pushed = stage.push(backend, look, aliases=aliases, refer=reference)
    state = "is new" if pushed.is_new else "is unchanged: these very files were pushed before, no new version was made"
    if reference:
        session.output.notice("the data stay where they are: each use checks that they did not change")
    description = look.found.spec.model_dump(mode="json")
    data = {**version_data(pushed.version), "new": pushed.is_new, "run": pushed.run_url, "description": description}
    session.output.result(data, f"{pushed.version} {state}")


def _refer(session: Session, uri: str, said: Mapping[str, Any], aliases: tuple[str, ...]) -> None:
    from pipelines.data.options import Options
    from pipelines.data.reading import dataset_name

    check_scheme(uri)
    options = Options(**{**said, "name": dataset_name(said["name"] or name_of(uri))})
    with session.writing() as backend:
        from pipelines import dataset as stage

        pushed = stage.refer(backend, uri, options, aliases=aliases)
        files = backend.files(pushed.version)
    objects = f"{len(files):,} object{'s' * (len(files) != 1)} of {size_text(pushed.version.size)}"
    session.output.notice(f"refers to {objects}, known by checksum")
    session.output.notice("format, splits, classes and leaks are unknown until the data are read: reg dataset show")
    state = "is new" if pushed.is_new else "is unchanged: these very objects were pushed before, no new version was made"
    data = {**version_data(pushed.version), "new": pushed.is_new, "run": pushed.run_url, "description": None}
    session.output.result(data, f"{pushed.version} {state}")


@dataset.command(epilog="Example: reg dataset pull mnist:latest --to data/")
@click.argument("reference", type=REFERENCE)
@click.option("--to", "to", type=FOLDER, help="Folder to write into (default: ./NAME).")
@click.option("--unpack", is_flag=True, help="Write the files inside shards as themselves.")
@session
def pull(session: Session, reference: Reference, to: Path | None, unpack: bool) -> None:
    """Download a dataset version, verified; what comes back is what was pushed."""
    with session.reading() as backend:
        version = backend.resolve(reference, type="dataset")
        target = to or Path(version.name)
        if unpack:
            from pipelines.data.packs import unpacked

            folder = unpacked(backend.download(version), target)
        else:
            folder = backend.export(version, target)
    session.output.result({**version_data(version), "folder": str(folder)}, f"{version} is in {folder}")


@dataset.command(epilog="Examples: reg dataset ls · reg dataset ls mnist")
@click.argument("reference", type=REFERENCE, required=False)
@session
def ls(session: Session, reference: Reference | None) -> None:
    """List dataset versions: of one collection, or the newest of each."""
    with session.reading() as backend:
        if reference is not None:
            versions = backend.versions(reference)
        else:
            names = [c.path for c in backend.collections("dataset")]
            versions = [backend.resolve(parse(name)) for name in names]
    session.output.result({"versions": [version_data(v) for v in versions]}, versions_table(versions))


@dataset.command(epilog="Example: reg dataset show mnist:latest")
@click.argument("reference", type=REFERENCE)
@session
def show(session: Session, reference: Reference) -> None:
    """Show what a dataset version holds: splits, classes, balance, overlap."""
    with session.reading() as backend:
        version = backend.resolve(reference, type="dataset")
        from pipelines import dataset as stage
        from pipelines.cli.dataset_facts import drawn

        spec = stage.description(backend, version)
    session.output.result({**version_data(version), "description": spec.model_dump(mode="json")}, *drawn(spec))


@dataset.command(epilog="Examples: reg dataset diff mnist:v0 mnist:v1 · reg dataset diff iris:v1 iris:v2 --save drift.html")
@click.argument("a", type=REFERENCE)
@click.argument("b", type=REFERENCE)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the comparison as a page (FILE.html).")
@session
def diff(session: Session, a: Reference, b: Reference, save: Path | None) -> None:
    """Compare two dataset versions: items by content, classes, leakage between the two, and the drift of each feature."""
    with session.reading() as backend:
        first, second = (backend.resolve(reference, type="dataset") for reference in (a, b))
        # They load scipy, pyarrow and jinja, which no other command of data needs.
        from pipelines import dataset as stage
        from pipelines.cli.comparison import comparison_tables, drift_data
        from pipelines.data.comparison import diff as compare
        from pipelines.data.comparison_page import write_page
        from pipelines.data.drift import drifts

        before, after = (stage.opened(backend, version, backend.download(version)) for version in (first, second))
        with session.output.progress("comparing"):
            found, drift = compare(before, after), drifts(before, after)
    if save is not None:
        write_page(save, str(first), str(second), found, drift)
    data = {"a": str(first), "b": str(second), **dataclasses.asdict(found), "drift": drift_data(drift)}
    session.output.result(data, *comparison_tables(str(first), str(second), found, drift))
