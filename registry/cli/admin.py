"""`reg admin`: the people of a reg server, their keys, their teams, their roles, and the aliases that only admins move.

For the admins of a small team. It speaks HTTP to the server's `/admin`, like any program may (`registry.administration`), so
one command works on the home of this machine, with a server that runs or without, and on a server elsewhere.
"""

from __future__ import annotations

import click

from registry.cli.admin_people import key, user
from registry.cli.admin_places import alias, member, org, team


@click.group(epilog="Examples: reg admin user add alice --out alice.key · reg admin member add alice --team vision")
def admin() -> None:
    """Manage users, keys, teams, roles and protected aliases of a reg server.

    Works on this machine's home, or with the key of an instance admin on the server that WANDB_BASE_URL names.
    """


for _group in (user, key, org, team, member, alias):
    admin.add_command(_group)
