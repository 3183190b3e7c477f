"""A job: the W&B run of one stage, from its inputs to its outputs.

Stages say what they take and what they make; this module does it through `registry.backend` and knows, besides it, the one
thing that is about looking rather than about the life of a model: how the SDK wants tables, curves and images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import wandb
from wandb.plot.custom_chart import CustomChart

from pipelines.histograms import Histogram
from registry.backend import Backend
from registry.backend_run import Run
from registry.hashed_files import NO_FILES, HashedFiles, Since
from registry.records import Version

# Opens a progress bar with a title for the time of a block; what it yields is called with (done, total).
Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


class Job:
    """What a stage is handed while its run is open."""

    def __init__(self, *, backend: Backend, run: Run) -> None:
        self._backend = backend
        self._run = run

    @property
    def id(self) -> str:
        return self._run.fact.id

    @property
    def url(self) -> str:
        return self._run.url

    @property
    def entity(self) -> str:
        return self._run.fact.entity

    def take(self, version: Version) -> Path:
        """Record the version as an input and return the folder with its files (never change them)."""
        self._run.use(version)
        return self._backend.download(version)

    def log_lines(self, text: str) -> None:
        """Append to the run's log what a program printed."""
        self._run.log_lines(text)

    def end_with(self, exit_code: int) -> None:
        """What the run ends with when the block ends; anything but 0 marks it failed."""
        self._run.exit_code = exit_code

    def expect_interruption(self) -> None:
        """Have a sweep give this run out again if its process vanishes or fails."""
        self._run.expect_interruption()

    def use(self, version: Version) -> None:
        """Record the version as an input without looking at its files."""
        self._run.use(version)

    @property
    def first_step(self) -> int:
        """The step that the run goes on at: 0, or after the last one that the server has of a resumed run."""
        return self._run.first_step

    def log(self, values: Mapping[str, float | Histogram], step: int | None = None) -> None:
        self._run.log({key: _shown(value) for key, value in values.items()}, step=step)

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Set the run's headline values."""
        self._run.summarise(values)

    def make(
        self,
        name: str,
        *,
        type: str,
        files: Iterable[tuple[str, Path]],
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
        hashed: HashedFiles = NO_FILES,
        since: Since | None = None,
        references: Iterable[tuple[str, str | None]] = (),
        meanwhile: Callable[[str], object] = lambda digest: None,
    ) -> Version:
        """Log an output; see `registry.backend.Run.output`."""
        return self._run.output(
            name,
            type=type,
            files=files,
            aliases=aliases,
            metadata=metadata,
            description=description,
            hashed=hashed,
            since=since,
            references=references,
            meanwhile=meanwhile,
        )

    def made(self, version: Version) -> bool:
        """Whether an output is new; see `registry.backend.Run.made`."""
        return self._run.made(version)

    def make_folder(
        self, name: str, folder: Path, *, type: str, aliases: Sequence[str] = (), metadata: Mapping[str, Any] | None = None
    ) -> Version:
        """Log every file of a folder as an output."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = [(str(path.relative_to(folder)), path) for path in paths]
        return self.make(name, type=type, files=files, aliases=aliases, metadata=metadata)

    # Pictures

    def table(self, key: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table of the run; an array of shape (height, width[, channels]) in a cell is shown as an image."""
        cells = [[_cell(value) for value in row] for row in rows]
        self._run.sdk.log({key: wandb.Table(columns=list(columns), data=cells)})

    def confusion_matrix(self, key: str, *, targets: np.ndarray, predictions: np.ndarray, labels: Sequence[str]) -> None:
        """Counts of predicted against true class; targets and predictions int, shape (n,)."""
        self._chart(
            key,
            wandb.plot.confusion_matrix(
                y_true=targets.tolist(), preds=predictions.tolist(), class_names=list(labels), title=key
            ),
        )

    def confusion_counts(self, key: str, counts: np.ndarray, *, labels: Sequence[str]) -> None:
        """The same chart from counts, int, shape (classes, classes): row = true class, column = predicted."""
        rows = [
            [labels[true], labels[said], int(counts[true, said])] for true in range(len(labels)) for said in range(len(labels))
        ]
        table = wandb.Table(columns=["Actual", "Predicted", "nPredictions"], data=rows)
        fields = {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"}
        self._chart(key, wandb.plot_table("wandb/confusion_matrix/v1", table, fields, {"title": key}))

    def images(self, key: str, pictures: Iterable[tuple[np.ndarray, str]]) -> None:
        """Pictures with a caption each; uint8, shape (height, width[, channels])."""
        self._run.sdk.log({key: [wandb.Image(pixels.squeeze(), caption=caption) for pixels, caption in pictures]})

    def masks(
        self, key: str, items: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray], str]], *, labels: Sequence[str]
    ) -> None:
        """Images with masks that a page can switch on and off.

        Args:
            items: image uint8 (height, width, channels), class indices by the mask's name (255: no label), caption.
        """
        names = {**dict(enumerate(labels)), 255: "not labelled"}
        shown = [
            wandb.Image(
                image.squeeze(),
                caption=caption,
                masks={name: {"mask_data": mask, "class_labels": names} for name, mask in masks.items()},
            )
            for image, masks, caption in items
        ]
        self._run.sdk.log({key: shown})

    def lines(self, key: str, *, x: str, y: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """One chart with a named curve (xs, ys) each."""
        table = wandb.Table(columns=[x, y, "class"])
        for name, (xs, ys) in curves.items():
            for x_value, y_value in zip(xs, ys, strict=True):
                table.add_data(float(x_value), float(y_value), name)
        self._chart(
            key, wandb.plot_table("wandb/area-under-curve/v0", table, {"x": x, "y": y, "class": "class"}, {"title": key})
        )

    def _chart(self, key: str, chart: CustomChart) -> None:
        self._run.sdk.log({key: chart})


@contextmanager
def open_job(
    backend: Backend,
    *,
    job_type: str,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    writers: Literal["one", "several"] = "one",
    resume: str | None = None,
    computes: bool = True,
) -> Iterator[Job]:
    """Open the run of a stage, or with `resume` go on with the run of this id; it is marked failed when the block raises.

    `writers`, `computes`: see `registry.backend.Backend.run`.
    """
    with backend.run(job_type=job_type, name=name, config=config, writers=writers, resume=resume, computes=computes) as run:
        yield Job(backend=backend, run=run)


def _shown(value: float | Histogram) -> Any:
    if isinstance(value, Histogram):
        return wandb.Histogram(np_histogram=(np.array(value.counts), np.array(value.edges)))
    return value


def _cell(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim >= 2:
        return wandb.Image(value.squeeze())
    return value.item() if isinstance(value, np.generic) else value
