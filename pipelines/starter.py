"""`reg init`: the files a project starts with: settings and a policy, commented, ready to be committed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from registry.cli.output import Output
from registry.errors import UsageError

_SETTINGS = """\
# Settings of `reg` for this repository; flags and REG_*/WANDB_* variables go before them.
project: {project}
policy: policy.yaml
"""
_POLICIES = {"cpu": "policy.yaml", "cuda": "policy.production.yaml"}


@click.command(epilog="Example: cd my-project && reg init --device cuda")
@click.option(
    "--device", type=click.Choice(sorted(_POLICIES)), default="cpu", show_default=True, help="Where evaluations count."
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def init(device: str, force: bool, debug: bool) -> None:
    """Write reg.yaml and policy.yaml into the current folder."""
    folder = Path.cwd()
    texts = {
        "reg.yaml": _SETTINGS.format(project=folder.name.replace(" ", "-") or "reg"),
        "policy.yaml": files("pipelines").joinpath(_POLICIES[device]).read_text(encoding="utf-8"),
    }
    taken = [name for name in texts if (folder / name).exists()]
    if taken and not force:
        raise UsageError(f"{' and '.join(taken)} already here; nothing was written", hint="reg init --force")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    Output(as_json=False).result({}, f"wrote {' and '.join(texts)}; next: reg dataset push data/")
