"""Settings: flag > environment > project file > user file > default, read once into a frozen value.

Nothing else in `reg` reads the environment for its own behaviour. The project file is `reg.yaml`, or `[tool.reg]` in
`pyproject.toml`, in the current folder or the nearest one above it that has either; the user file is `settings.yaml` in the
platform's configuration folder.

    key       environment                   default
    home      REG_HOME                      the platform's user data folder
    server    REG_SERVER, WANDB_BASE_URL    `embedded`; W&B's cloud when only WANDB_API_KEY is set
    api_key   WANDB_API_KEY                 the home's own key for `embedded`; the SDK's login otherwise (never from a file)
    entity    REG_ENTITY, WANDB_ENTITY      the server's default for the key
    project   REG_PROJECT, WANDB_PROJECT    `reg`
    registry  REG_REGISTRY                  `model`; a policy file that names a registry goes before it
    policy    REG_POLICY                    the policy that ships with `reg`
    webhook   REG_WEBHOOK                   none; where alerts are posted besides W&B (`registry.alerts`)
    data_memory  REG_DATA_MEMORY            `512MiB`; a split that is larger once decoded is read from disk as it is needed
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.errors import BadSettings
from registry.references import nearest_name

EMBEDDED = "embedded"
CLOUD = "cloud"  # whatever address the installed SDK takes for W&B's cloud

_ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "home": ("REG_HOME",),
    "server": ("REG_SERVER", "WANDB_BASE_URL"),
    "entity": ("REG_ENTITY", "WANDB_ENTITY"),
    "project": ("REG_PROJECT", "WANDB_PROJECT"),
    "registry": ("REG_REGISTRY",),
    "policy": ("REG_POLICY",),
    "webhook": ("REG_WEBHOOK",),
    "data_memory": ("REG_DATA_MEMORY",),
}
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are and who asks.

    `server` is `embedded`, `cloud` or a URL without trailing slash, `data_memory` is in bytes; `origins` says for each key
    where its value came from.
    """

    home: Path
    server: str
    project: str
    registry: str
    entity: str | None = None
    policy: Path | None = None
    api_key: str | None = field(default=None, repr=False)
    webhook: str | None = field(default=None, repr=False)
    data_memory: int = 512 << 20
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        return self.server == EMBEDDED


def read(flags: Mapping[str, str | None], *, environment: Mapping[str, str], folder: Path) -> Settings:
    """Merge all sources.

    Args:
        flags: values given on the command line; None or absent means not given.
        environment: usually `os.environ`.
        folder: usually the current folder; project files are searched from here upwards.
    Raises:
        BadSettings: a file is unreadable or has an unknown key, or a value is impossible.
    """
    import platformdirs

    values: dict[str, str] = {"home": platformdirs.user_data_dir("reg"), "project": "reg", "registry": "model"}
    origins = dict.fromkeys(values, "default")
    files = (platformdirs.user_config_path("reg") / "settings.yaml", _project_file(folder))
    layers = [(str(file), _read_file(file)) for file in files if file is not None and file.is_file()]
    layers.append(("environment", _read_environment(environment)))
    layers.append(("command line", {key: value for key, value in flags.items() if value}))
    for origin, layer in layers:
        values.update(layer)
        origins.update(dict.fromkeys(layer, origin))
    api_key = environment.get("WANDB_API_KEY") or None
    server = _server(values.get("server") or (CLOUD if api_key else EMBEDDED))
    return Settings(
        home=Path(values["home"]).expanduser().absolute(),
        server=server,
        entity=values.get("entity"),
        project=_project(values["project"], origins["project"]),
        registry=values["registry"],
        policy=Path(values["policy"]).expanduser() if "policy" in values else None,
        api_key=None if server == EMBEDDED else api_key,
        webhook=_webhook(values.get("webhook")),
        data_memory=_size(values.get("data_memory", "512MiB")),
        origins=origins,
    )


def _server(text: str) -> str:
    if text in (EMBEDDED, CLOUD) or text.startswith(("http://", "https://")):
        return text.rstrip("/")
    raise BadSettings(
        f"server is '{text}', it can be '{EMBEDDED}', '{CLOUD}' or a URL",
        hint="export WANDB_BASE_URL=https://wandb.example.org",
    )


def _project(name: str, origin: str) -> str:
    if len(name) <= 128 and not re.search(r"[/\\#?%:\r\n]", name):
        return name
    raise BadSettings(
        rf"project is '{name}' ({origin}): W&B takes up to 128 characters without / \ # ? % and :",
        hint=f"--project {nearest_name(name, otherwise='my-project')}",
    )


def _webhook(url: str | None) -> str | None:
    if url is None or url.startswith(("http://", "https://")):
        return url
    raise BadSettings("webhook is not a URL", hint="export REG_WEBHOOK=https://hooks.example.org/...")


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([a-z]*)", text.strip(), re.IGNORECASE)
    if match is None or match[2].upper() not in _UNITS:
        raise BadSettings(f"data_memory is '{text}', a size was expected", hint="export REG_DATA_MEMORY=2GiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    found = {key: [environment[name] for name in names if environment.get(name)] for key, names in _ENVIRONMENT.items()}
    return {key: texts[0] for key, texts in found.items() if texts}


def _project_file(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        if (place / "reg.yaml").is_file():
            return place / "reg.yaml"
        pyproject = place / "pyproject.toml"
        if pyproject.is_file() and "[tool.reg]" in pyproject.read_text(encoding="utf-8", errors="replace"):
            return pyproject
    return None


def _read_file(file: Path) -> dict[str, str]:
    try:
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text)["tool"]["reg"] if file.suffix == ".toml" else _yaml(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BadSettings(f"cannot read {file}: {exc}") from exc
    if not isinstance(content, dict):
        raise BadSettings(f"{file} holds {type(content).__name__}, keys and values were expected", hint="project: my-project")
    for key, value in content.items():
        if key not in _ENVIRONMENT:
            near = difflib.get_close_matches(str(key), _ENVIRONMENT, n=1)
            raise BadSettings(f"{file}: unknown key '{key}'", hint=f"did you mean '{near[0]}'?" if near else _known())
        if not isinstance(value, str):
            raise BadSettings(f"{file}: {key} is {value!r}, a text was expected", hint=f"{key}: '{value}'")
    paths = {key: str(file.parent / Path(content[key]).expanduser()) for key in ("home", "policy") if key in content}
    return {**content, **paths}


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as exc:
        raise BadSettings(f"not YAML: {' '.join(str(exc).split())}") from exc


def _known() -> str:
    return f"known keys: {', '.join(_ENVIRONMENT)}"
