"""Configuration files: one YAML file, its values for all, and the modes that add to them.

    lr: 1e-3                     # for every mode
    model: {width: 32}
    mode: quick                  # which one, when nobody says --mode (else the mode called `base`, if there is one)
    modes:
      base: {epochs: 40}
      quick: {inherits: base, epochs: 2, train_fraction: 0.1}
      production: {inherits: base, augment: {mirror: true}, patience: null}

A mode inherits from one other or from several, `inherits: [base, wide]`, of which later ones win; its own values win over all
of them, and every mode over the values for all. Inheritance goes key by key, also inside groups, so that a mode says only
what it changes. Nothing is checked here but the file's own words: which keys there are is the configuration's business,
and each value brings along the line it was written in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from registry import yaml_lines
from registry.errors import BadSettings

_MODE, _MODES, _INHERITS, _USUAL = "mode", "modes", "inherits", "base"


@dataclass(frozen=True)
class Given:
    """A value as somebody wrote it, and where."""

    value: Any
    origin: str


def read(file: Path, *, mode: str | None = None) -> tuple[Mapping[str, Given], str | None]:
    """The values of a file in one of its modes.

    Args:
        mode: as `--mode` says; None takes the file's own choice.
    Returns:
        The values by their keys, groups with dots, each with file, line and mode; and the mode they are of, None where the
        file has none.
    Raises:
        BadSettings: unreadable, no such mode, no choice between modes, or modes that inherit in a circle.
    """
    document = _document(file)
    modes = _modes(document, file)
    chosen = _choice(document, modes, file=file, asked=mode)
    common = {key: value for key, value in document.content.items() if key not in (_MODE, _MODES)} if document.content else {}
    found = {key: Given(value, f"{file}:{document.line(path)}") for key, path, value in _flat(common, ())}
    for name in _order(modes, chosen, file) if chosen is not None else ():
        own = {key: value for key, value in modes[name].items() if key != _INHERITS}
        for key, path, value in _flat(own, (_MODES, name)):
            found[key] = Given(value, f"{file}:{document.line(path)} (mode {name})")
    return found, chosen


def flat(values: Mapping[str, Any], *, origin: str) -> Mapping[str, Given]:
    """Nested values, of a run or a sweep for instance, by dotted keys."""
    return {key: Given(leaf, origin) for key, _, leaf in _flat(values, ())}


def value(text: str) -> Any:
    """One value, as `--set` has it.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def _document(file: Path) -> yaml_lines.Document:
    try:
        text = file.read_text(encoding="utf-8")
        document = yaml_lines.read(text)
        content = yaml.load(text, Loader=_Loader)
    except (OSError, UnicodeDecodeError) as exc:
        raise BadSettings(f"cannot read {file}: {exc}") from exc
    except yaml_lines.BadYaml as exc:
        place = f"{file}:{exc.line}" if exc.line else str(file)
        raise BadSettings(f"{place}: {exc.message}") from exc
    except ValueError as exc:  # a date or a number that YAML's grammar allows and Python does not
        raise BadSettings(f"{file} is not YAML: {' '.join(str(exc).split())}") from exc
    if content is not None and not isinstance(content, dict):
        raise BadSettings(f"{file} holds {type(content).__name__}, keys and values were expected", hint="epochs: 5")
    return yaml_lines.Document(content, document.root)


def _modes(document: yaml_lines.Document, file: Path) -> Mapping[str, Mapping[str, Any]]:
    written = (document.content or {}).get(_MODES)
    if written is None:
        return {}
    if not isinstance(written, dict) or not written:
        place = f"{file}:{document.line((_MODES,))}"
        raise BadSettings(
            f"{place}: modes is {written!r}, names and their values were expected", hint="modes: {base: {epochs: 5}}"
        )
    for name, values in written.items():
        if not isinstance(values, dict | None):
            place = f"{file}:{document.line((_MODES, name))}"
            raise BadSettings(f"{place}: mode {name} is {values!r}, keys and values were expected", hint="epochs: 5")
    return {str(name): values or {} for name, values in written.items()}


def _choice(document: yaml_lines.Document, modes: Mapping[str, Any], *, file: Path, asked: str | None) -> str | None:
    if asked is not None:
        if not modes:
            raise BadSettings(f"--mode {asked}: {file} has no modes", hint=f"modes: {{{asked}: {{epochs: 5}}}}")
        return _known(asked, modes, where=f"--mode {asked}")
    own = (document.content or {}).get(_MODE)
    if own is not None:
        return _known(str(own), modes, where=f"{file}:{document.line((_MODE,))}: mode: {own}")
    if not modes:
        return None
    if _USUAL in modes:
        return _USUAL
    raise BadSettings(f"{file} has the modes {', '.join(modes)}, and none was chosen", hint=f"--mode {next(iter(modes))}")


def _known(name: str, modes: Mapping[str, Any], *, where: str) -> str:
    if name in modes:
        return name
    near = difflib.get_close_matches(name, modes, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"modes: {', '.join(modes) or 'none'}"
    raise BadSettings(f"{where}: there is no mode '{name}'", hint=hint)


def _order(modes: Mapping[str, Mapping[str, Any]], chosen: str, file: Path) -> Sequence[str]:
    """The modes whose values add up to the chosen one, which is the last; later ones win."""
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " → ".join([*path[path.index(name) :], name])
            raise BadSettings(f"{file}: the modes inherit in a circle: {circle}", hint=f"remove 'inherits' from {path[-1]}")
        for parent in _parents(modes[name], name, file):
            visit(_known(parent, modes, where=f"{file}: mode {name} inherits {parent}"), (*path, name))
        # Of two that inherit from the same mode the second must not take back what the first changed.
        if name not in order:
            order.append(name)

    visit(chosen, ())
    return order


def _parents(values: Mapping[str, Any], name: str, file: Path) -> Sequence[str]:
    written = values.get(_INHERITS)
    parents = [] if written is None else [written] if isinstance(written, str) else written
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise BadSettings(f"{file}: mode {name} inherits {written!r}, a mode's name was expected", hint="inherits: base")
    return parents


def _flat(content: Mapping[Any, Any], path: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Dotted key, path inside the document, and value of each leaf."""
    for name, inside in content.items():
        if isinstance(inside, dict):
            yield from ((f"{name}.{key}", full, leaf) for key, full, leaf in _flat(inside, (*path, name)))
        else:
            yield str(name), (*path, name), inside


class _Loader(yaml.SafeLoader):
    """YAML with the numbers people write: 1e-3 is a number, as in YAML 1.2, and not a text, as in 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
