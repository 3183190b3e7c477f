"""Rows of a page that its visitor may not see: they stay, as what they are, without a name.

Lineage crosses from project to project, so the page of a version that somebody may see lists runs and versions that they may
not. That there are some belongs to the truth about it; which, does not. Every page goes through here on its way out, so that a
new list is covered before it is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from registry.server.access import Level
from registry.server.guards import HIDDEN
from registry.server.store import people
from registry.server.store.holders import Behind, Move
from registry.server.store.overview import CollectionRow, RunRow, VersionRow
from registry.server.ui.artifacts import Place
from registry.server.ui.visit import Visit


def shown(visit: Visit, page: Any) -> Any:
    """The page as its visitor may see it."""
    return page if visit.context.access.admin else _Reader(visit).of(page)


class _Reader:
    """What one visitor sees; projects are looked up once."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._seen: dict[tuple[str, str], bool] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, RunRow) and not self._sees(value.entity, value.project):
            return dataclasses.replace(
                value, entity=HIDDEN, project=HIDDEN, name=HIDDEN, display_name=HIDDEN, job_type=None, by=None
            )
        if isinstance(value, VersionRow) and not self._sees(value.entity, value.project):
            return dataclasses.replace(value, entity=HIDDEN, organization=None, project=HIDDEN, collection=HIDDEN, outcome=None)
        if isinstance(value, CollectionRow) and not self._sees(value.entity, value.project):
            raise self._visit.context.access.unknown()
        if isinstance(value, Place) and not self._sees(value.version.entity, value.version.project):
            return dataclasses.replace(value, version=self.of(value.version), holds=())
        if isinstance(value, Behind) and not self._sees(value.version.entity, value.version.project):
            return dataclasses.replace(value, version=self.of(value.version), reason=None, override=None)
        if isinstance(value, Move) and value.holder is not None and not self._sees(value.holder.entity, value.holder.project):
            value = dataclasses.replace(value, target=HIDDEN, by=None, verdict=None)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
            changed = {name: new for name, old in fields.items() if (new := self.of(old)) is not old}
            return dataclasses.replace(value, **changed) if changed else value
        if isinstance(value, Mapping):
            return {key: self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        return value

    def _sees(self, entity: str, project: str) -> bool:
        place = (entity, project)
        if place not in self._seen:
            context = self._visit.context
            found = people.project(context.connection, entity, project)
            self._seen[place] = found is not None and context.access.level(found.id) >= Level.SEE
        return self._seen[place]
