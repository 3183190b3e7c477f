"""`reg.dataset.json`: what a dataset is, said once, by the files and options alone.

The description is part of the artifact's digest, so it holds no clock, no path outside the data and no user: an unchanged push
has unchanged bytes. It comes back from anywhere, so reading validates it. Class names stand in class index order: `labels[k]`
is what a model means by output k; `targets[k]` is the number that it means, where the task is a regression.

`schema_version` 1 is a classification; its bytes are those of the first releases. 2 brought masks and numbers as targets, 3
pictures of many sizes and kinds (`rendering`): a `reg` from before them refuses such data by their version instead of stumbling
over them, and data that need none of it keep the bytes that they had.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipelines.data.kinds import Fit, Format, Task
from registry.errors import BadData
from registry.records import Fact

DESCRIPTION = "reg.dataset.json"

IGNORED = 255  # in a mask: a pixel that nobody labelled, as PASCAL VOC and Cityscapes write it
_SCHEMA_VERSION = 3
# What version 2 added; a description of version 1 is written without it.
_ADDED: Any = {"targets": True, "mask_values": True, "splits": {"__all__": {"pixels", "ignored", "targets"}}}


class Rendering(Fact):
    """How image files of any size and kind become arrays of one shape; what is None was not needed for these data.

    Where there is a rendering, a picture stands upright: its EXIF orientation is honoured.

    Attributes:
        size: height and width of every array. None: that of the files, which is the same for all.
        fit: `crop` scales a picture until it fills the size and cuts out the centre; `pad` scales it until it fits inside and
            fills the rest with black (of a mask: with pixels that nobody labelled). Pictures are scaled by bilinear
            interpolation with antialiasing, masks by the nearest pixel.
        levels: of images with more than 8 bits per channel, the values that become 0 and 255.
        channels: 3 where files of different kinds all become RGB: grey is repeated, transparent pixels lie on white.
    """

    size: tuple[int, int] | None = None
    fit: Fit | None = None
    levels: tuple[int, int] | None = None
    channels: Literal[3] | None = None

    @property
    def key(self) -> str:
        """What decides about the pixels of one file, whatever the others are: the same text, the same pixels."""
        return self.model_dump_json(exclude={"channels"})

    def __str__(self) -> str:
        words = ["EXIF orientation honoured"]
        if self.size is not None:
            height, width = self.size
            how = {"crop": "scaled to fill, centre cut out", "pad": "scaled to fit, black around"}[self.fit or "crop"]
            words = [f"{how}: {height}×{width}", *words]
        if self.levels is not None:
            words.append("values {:,} to {:,} as 0 to 255".format(*self.levels))
        if self.channels is not None:
            words.append("all as RGB, transparent on white")
        return "; ".join(words)


class ImageInput(Fact):
    """Every item is a uint8 image of this shape; channels come last, 1 is grey, 3 RGB, 4 RGBA."""

    kind: Literal["image"] = "image"
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width, self.channels)

    def __str__(self) -> str:
        return f"image {self.height}×{self.width}×{self.channels}, uint8"


class Column(Fact):
    """One feature; `categories` are those of the train split, sorted, and an item holds the index of its own (-1: unknown)."""

    name: str
    kind: Literal["numeric", "categorical"]
    categories: tuple[str, ...] = ()


class TableInput(Fact):
    """Every item is a row of float32 features in this order; NaN is a missing value."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.columns),)

    def __str__(self) -> str:
        categorical = sum(column.kind == "categorical" for column in self.columns)
        return f"table of {len(self.columns)} columns ({len(self.columns) - categorical} numeric, {categorical} categorical)"


class TargetSpec(Fact):
    """The numbers of one regression target in a split; `deviation` is the standard deviation of these items."""

    minimum: float
    maximum: float
    mean: float
    deviation: float


class SplitSpec(Fact):
    """One split: how many items, of which class, their size once decoded, and how many repeat an earlier item of the split.

    Of masks, `classes` counts the images that show a class, `pixels` its pixels, `ignored` those without a label. Of a
    regression, `classes` is empty and `targets` says what the numbers are like.
    """

    items: int
    classes: dict[str, int]
    bytes: int
    duplicates: int
    pixels: dict[str, int] = Field(default_factory=dict)
    ignored: int = 0
    targets: dict[str, TargetSpec] = Field(default_factory=dict)


class Overlap(Fact):
    """Leakage: `items` of split `b` have the very content of an item of split `a`; `examples` are pairs of item ids (a, b)."""

    a: str
    b: str
    items: int
    examples: tuple[tuple[str, str], ...]


class Division(Fact):
    """The split that `reg` made because the data came without one; see `pipelines.data.splits.divide`."""

    seed: int
    test_fraction: float


class DatasetSpec(Fact):
    """The file `reg.dataset.json`. `files` and `bytes` count the data as stored, descriptions and documents not included.

    `referred` says that the version only refers to the data; else it is not written, as it was before there was the word.

    `target` is the column of the classes, `targets` are the names of the numbers to predict. `mask_values[k]` is the pixel
    value of class k in the masks. `rendering` is not written where image files are taken as they are.
    """

    schema_version: Literal[1, 2, 3] = 1
    name: str
    format: Format
    task: Task
    labels: tuple[str, ...]
    input: Annotated[ImageInput | TableInput, Field(discriminator="kind")]
    target: str | None = None
    targets: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ()
    division: Division | None = None
    splits: dict[str, SplitSpec]
    overlaps: tuple[Overlap, ...] = ()
    files: int
    bytes: int
    referred: bool = False
    rendering: Rendering | None = None

    @property
    def items(self) -> int:
        return sum(split.items for split in self.splits.values())

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        for name, split in self.splits.items():
            counted = sum(split.classes.values()) == split.items or not self.task.endswith("-classification")
            if tuple(split.classes) != self.labels or not counted:
                raise ValueError(f"the classes of split '{name}' do not add up to its {split.items} items")
            if tuple(split.targets) != self.targets:
                raise ValueError(f"split '{name}' describes other targets than {', '.join(self.targets) or 'none'}")
        if bool(self.targets) != self.task.endswith("-regression") or len(self.mask_values) not in (0, len(self.labels)):
            raise ValueError(f"its labels and targets are not those of the task {self.task}")
        return self

    def to_json(self) -> str:
        left_out = (_ADDED if self.schema_version == 1 else {}) | ({} if self.referred else {"referred": True})
        if self.rendering is None:
            left_out = left_out | {"rendering": True}
        return self.model_dump_json(indent=2, exclude=left_out) + "\n"

    @classmethod
    def from_json(cls, text: str, *, file: str = DESCRIPTION) -> DatasetSpec:
        """Read the description of an artifact.

        Raises:
            BadData: it is not such a description, or one of a version of `reg` that this one does not know.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as exc:
            first = exc.errors()[0]
            version = first["input"] if first["loc"] == ("schema_version",) else None
            if isinstance(version, int) and version > _SCHEMA_VERSION:
                raise BadData(
                    f"{file} has schema_version {version}, this reg reads up to {_SCHEMA_VERSION}",
                    hint="pip install --upgrade reg-lifecycle",
                ) from exc
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise BadData(f"{file} is not a dataset's description: {where}: {first['msg']}") from exc
