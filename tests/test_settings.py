"""Settings: flag > environment > project file > user file > default."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import settings
from registry.errors import BadSettings


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own settings must not reach the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def read(folder: Path, flags: dict[str, str | None] | None = None, **environment: str) -> settings.Settings:
    return settings.read(flags or {}, environment=environment, folder=folder)


def test_without_an_account_the_embedded_server_is_used(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.server, found.project, found.registry) == ("embedded", "reg", "model")
    assert found.home == tmp_path / "data" / "reg"


@pytest.mark.parametrize(
    ("environment", "server"),
    [
        ({"WANDB_API_KEY": "k" * 40}, "cloud"),
        ({"WANDB_BASE_URL": "https://wandb.example.org/", "WANDB_API_KEY": "k" * 40}, "https://wandb.example.org"),
        ({"WANDB_API_KEY": "k" * 40, "REG_SERVER": "embedded"}, "embedded"),
    ],
    ids=["a key alone means the cloud", "a URL means that server", "asked for the embedded one"],
)
def test_an_account_in_the_environment_is_used(tmp_path: Path, environment: dict[str, str], server: str) -> None:
    assert read(tmp_path, **environment).server == server


def test_a_key_never_shows_in_a_representation(tmp_path: Path) -> None:
    assert "secret" not in repr(read(tmp_path, WANDB_API_KEY="secret" * 8))


def test_each_source_goes_before_the_next(tmp_path: Path) -> None:
    user = tmp_path / "config" / "reg" / "settings.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("project: from-user\nregistry: from-user\nentity: from-user\n")
    (tmp_path / "reg.yaml").write_text("project: from-file\nregistry: from-file\n")
    found = read(tmp_path, {"project": "from-flag", "entity": None}, WANDB_PROJECT="from-environment", REG_REGISTRY="from-env")
    assert (found.project, found.registry, found.entity) == ("from-flag", "from-env", "from-user")
    assert found.origins["project"] == "command line"
    assert found.origins["entity"] == str(user)


def test_a_project_file_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.reg]\nproject = "mine"\npolicy = "gates/policy.yaml"\n')
    (tmp_path / "src" / "deep").mkdir(parents=True)
    found = read(tmp_path / "src" / "deep")
    assert found.project == "mine"
    assert found.policy == tmp_path / "gates" / "policy.yaml"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("projct: x", "unknown key 'projct'", "did you mean 'project'?"),
        ("project: 3", "project is 3, a text was expected", "project: '3'"),
        ("- project", "holds list", "project: my-project"),
        ("a: [", "not YAML", None),
        ("server: ftp://x", "server is 'ftp://x'", "export WANDB_BASE_URL=https://wandb.example.org"),
    ],
    ids=["misspelt key", "number", "list", "not YAML", "not a server"],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    (tmp_path / "reg.yaml").write_text(text)
    with pytest.raises(BadSettings) as refused:
        read(tmp_path)
    assert message in refused.value.message
    assert refused.value.hint == hint


@pytest.mark.parametrize(("name", "nearest"), [("a/b", "a-b"), ("50%", "50"), ("x" * 129, "x" * 128)])
def test_a_project_that_wandb_cannot_have_is_refused_with_where_it_came_from(tmp_path: Path, name: str, nearest: str) -> None:
    with pytest.raises(BadSettings, match=r"project is '.*' \(environment\)") as caught:
        read(tmp_path, WANDB_PROJECT=name)
    assert caught.value.hint == f"--project {nearest}"
