"""What a person may say about data that the files do not say themselves: `Options`, and `dataset.yaml` beside the data.

Both say the same things under the same names. An option given to the command wins over the file, the file over what can be
detected; `None` means "not said". The file travels with the data, so that a pulled dataset can be pushed again.

    name: mnist                  # else the folder's base name
    format: csv                  # idx, npz, npy, images, masks, metadata, csv, parquet
    task: tabular-classification # else read off the data: fractions to predict are a regression
    target: species              # the column to predict
    targets: [x, y]              # or several of them, numbers (a regression)
    drop: [id, comment]          # columns that are no features
    labels: [setosa, versicolor] # class names in index order, or the name of a file with one per line
    mask_values: [0, 128]        # the pixel value of each class in masks (else: those found, without 255, "not labelled")
    size: 224                    # what images of many sizes become: a square, or HEIGHTxWIDTH such as 192x256
    fit: crop                    # crop (fill the size, cut out the centre) or pad (fit inside, black around)
    levels: [0, 4095]            # of images with more than 8 bits: the values that become black and white
    test_fraction: 0.2           # used only when the data come without a test split; 0 makes none
    seed: 0
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from pipelines.data.kinds import FITS, FORMATS, Fit, Format, Task, size_of
from pipelines.data.spec import Rendering
from registry.errors import BadData

FILE = "dataset.yaml"
TEST_FRACTION = 0.2
SEED = 0
LARGEST = 16_384  # pixels along a side


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was said about the data; None where nothing was."""

    name: str | None = None
    format: Format | None = None
    task: Task | None = None
    target: str | None = None
    targets: tuple[str, ...] | None = None
    drop: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    mask_values: tuple[int, ...] | None = None
    size: tuple[int, int] | None = None
    fit: Fit | None = None
    levels: tuple[int, int] | None = None
    test_fraction: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.test_fraction is not None and not 0 <= self.test_fraction < 1:
            raise BadData(
                f"test_fraction is {self.test_fraction}, a fraction from 0 to below 1 was expected", hint="--test-fraction 0.2"
            )
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise BadData(f"seed is {self.seed}, a whole number from 0 to below 2^63 was expected", hint="--seed 0")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            twice = next(label for label in self.labels if self.labels.count(label) > 1)
            raise BadData(f"labels names '{twice}' twice", hint="labels: [zero, one]")
        if self.target is not None and self.targets is not None:
            raise BadData(f"target is '{self.target}' and targets are {', '.join(self.targets)}", hint="say only one of them")
        if self.targets is not None and (not self.targets or len(set(self.targets)) < len(self.targets)):
            raise BadData(f"targets are {list(self.targets)}, different names were expected", hint="targets: [x, y]")
        if self.mask_values is not None:
            _check_mask_values(self.mask_values, self.labels)
        if self.size is not None and not all(1 <= side <= LARGEST for side in self.size):
            height, width = self.size
            raise BadData(f"size is {height}×{width}, sides from 1 to {LARGEST:,} pixels were expected", hint="--size 224")
        if self.levels is not None and self.levels[0] >= self.levels[1]:
            low, high = self.levels
            raise BadData(f"levels are {low} and {high}, black has to lie below white", hint="--levels 0:65535")

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """The names of what is to be predicted, one or several."""
        return self.targets if self.targets is not None else (self.target,) if self.target is not None else None

    @property
    def rendering(self) -> Rendering:
        """How image files are to be read, as far as that was said."""
        return Rendering(size=self.size, fit=(self.fit or "crop") if self.size else None, levels=self.levels)

    def over(self, weaker: Options) -> Options:
        """These options, and the weaker ones where these say nothing."""
        said = {key: value for key, value in vars(self).items() if value is not None}
        if self.wanted is not None:
            said |= {"target": self.target, "targets": self.targets}
        return dataclasses.replace(weaker, **said)


_KEYS = tuple(field.name for field in dataclasses.fields(Options))
_CHOICES: Mapping[str, tuple[str, ...]] = {"format": FORMATS, "task": get_args(Task), "fit": FITS}


def read_options(file: Path) -> tuple[Options, Path | None]:
    """Read a `dataset.yaml`.

    Returns:
        What it says, and the file of labels that it names, if it names one.
    Raises:
        BadData: not YAML, an unknown key (the nearest known one is the hint), a value of the wrong kind.
    """
    content = _content(file)
    for key in content:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            raise BadData(
                f"{file}: unknown key '{key}'", hint=f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(_KEYS)}"
            )
    values = {key: _value(file, key, value) for key, value in content.items() if value is not None}
    labels_file = None
    if isinstance(labels := values.get("labels"), str):
        labels_file = file.parent / labels
        values["labels"] = _label_names(labels_file, said_by=file)
    try:
        return Options(**values), labels_file
    except BadData as exc:
        raise BadData(f"{file}: {exc.message}", hint=exc.hint) from exc


def _content(file: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise BadData(f"cannot read {file}: {' '.join(str(exc).split())}") from exc
    if content is not None and not isinstance(content, dict):
        raise BadData(f"{file} holds a {type(content).__name__}, keys and values were expected", hint="name: mnist")
    return content or {}


def _value(file: Path, key: str, value: Any) -> Any:
    match key:
        case "drop" | "targets" if _is_texts(value):
            return tuple(value)
        case "mask_values" if isinstance(value, list) and all(type(number) is int for number in value):
            return tuple(value)
        case "labels" if isinstance(value, str):
            return value
        # YAML reads 0 as a number and no as a boolean: a number is surely meant as its digits, a boolean is a trap.
        case "labels" if isinstance(value, list) and value and all(type(name) in (str, int) for name in value):
            return tuple(str(name) for name in value)
        case "test_fraction" if type(value) in (int, float):
            return float(value)
        case "seed" if type(value) is int:
            return value
        case "size" if type(value) in (int, str) and (size := size_of(str(value))) is not None:
            return size
        case "size" | "levels" if isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value):
            return tuple(value)
        case "format" | "task" | "fit" if value in _CHOICES[key]:
            return value
        case "name" | "target" if isinstance(value, str):
            return value
    raise BadData(f"{file}: {key} is {value!r}, {_WANTED[key]} was expected", hint=_EXAMPLES[key])


def _label_names(file: Path, *, said_by: Path) -> tuple[str, ...]:
    if Path(file).resolve().parent != said_by.parent.resolve():
        raise BadData(f"{said_by}: labels is '{file}', a file beside it was expected", hint="labels: labels.txt")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise BadData(f"cannot read {file}, the labels of {said_by}: {exc}", hint="labels: [zero, one]") from exc
    return tuple(line.strip() for line in lines if line.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _check_mask_values(values: tuple[int, ...], labels: tuple[str, ...] | None) -> None:
    if len(set(values)) < len(values) or not all(0 <= value <= 255 for value in values):
        raise BadData(
            f"mask_values are {list(values)}, different numbers from 0 to 255 were expected", hint="mask_values: [0, 1]"
        )
    if labels is not None and len(labels) != len(values):
        raise BadData(f"there are {len(labels)} labels and {len(values)} mask_values", hint="name one value per class")


_WANTED = {
    "name": "a text",
    "format": f"one of {', '.join(FORMATS)}",
    "task": f"one of {', '.join(get_args(Task))}",
    "target": "the name of a column",
    "targets": "a list of column names",
    "drop": "a list of column names",
    "mask_values": "a list of whole numbers from 0 to 255",
    "labels": "a list of class names or the name of a file",
    "size": "a number of pixels or HEIGHTxWIDTH",
    "fit": f"one of {', '.join(FITS)}",
    "levels": "a list of two whole numbers",
    "test_fraction": "a number",
    "seed": "a whole number from 0",
}
_EXAMPLES = {
    "name": "name: mnist",
    "format": "format: csv",
    "task": "task: tabular-classification",
    "target": "target: label",
    "targets": "targets: [x, y]",
    "drop": "drop: [id]",
    "mask_values": "mask_values: [0, 128, 255]",
    "labels": "labels: ['no', 'yes']",
    "size": "size: 192x256",
    "fit": "fit: pad",
    "levels": "levels: [0, 4095]",
    "test_fraction": "test_fraction: 0.2",
    "seed": "seed: 0",
}
