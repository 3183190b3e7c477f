"""What a user may do where: roles as levels, and the answer for one request.

Roles are W&B's. A *team* role (viewer, member, admin) counts for the team's projects; what is under a user's own name is
theirs alone. A *registry* role counts for one registry, given to a user or to a team; the highest of them holds. Without one,
who belongs to the organisation is a viewer of its registries, except of those that are `RESTRICTED`, and an admin of it is
admin of them all. An instance admin may do everything.

What one may not see does not exist: a name or id of it is answered as an unknown one would be. What one may see and not change
is refused with the role that it takes. `guards` shows nothing unseen, whichever resolver found it, and refuses a mutation that
asked nothing here.

What W&B does is documented at https://docs.wandb.ai/models/registry/configure_registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from registry.errors import BadData, NotFound, Unauthorised
from registry.references import REGISTRY_PREFIX


class Level(IntEnum):
    """How much one may do in a project; each includes those before it."""

    NONE = 0
    SEE = 1  # that a version is there, and what is said about it
    READ = 2  # also its content; use it
    WRITE = 3  # log runs and artifacts; link, move aliases
    ADMIN = 4  # also settings, members, protected aliases, deletion of the whole

    @property
    def role(self) -> str:
        """The role that gives this level, as people say it."""
        return next((role.replace("_", " ") for role, level in ROLES.items() if level == self), "nobody")


ROLES: Mapping[str, Level] = {
    "restricted_viewer": Level.SEE,
    "viewer": Level.READ,
    "member": Level.WRITE,
    "admin": Level.ADMIN,
}
# Who only sees what there is exists in registries alone.
TEAM_ROLES = ORGANIZATION_ROLES = ("viewer", "member", "admin")
REGISTRY_ROLES = tuple(ROLES)

RESTRICTED = "RESTRICTED"
# Levels of access that open an ordinary project to every user of this server.
_OPENED = {"USER_READ": Level.READ, "USER_WRITE": Level.WRITE, "OPEN": Level.WRITE}
OPENED = tuple(_OPENED)


def check_role(role: str, allowed: tuple[str, ...]) -> str:
    """
    Raises:
        BadData: there is no such role here.
    """
    if role not in allowed:
        raise BadData(f"'{role[:80]}' is not a role: {', '.join(allowed)}")
    return role


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project, as far as it matters who may do what in it."""

    id: int
    name: str
    entity_id: int
    entity_name: str
    access: str
    user_id: int | None

    @property
    def is_registry(self) -> bool:
        return self.name.startswith(REGISTRY_PREFIX)

    def __str__(self) -> str:
        return (
            f"registry '{self.name.removeprefix(REGISTRY_PREFIX)}'" if self.is_registry else f"{self.entity_name}/{self.name}"
        )


@dataclass(frozen=True, kw_only=True)
class Grants:
    """What was given to a user: levels by entity (their own, their teams), by the entity of an organisation, by project."""

    entities: Mapping[int, Level] = field(default_factory=dict)
    organizations: Mapping[int, Level] = field(default_factory=dict)
    projects: Mapping[int, Level] = field(default_factory=dict)


class Access:
    """Answers for the user of one request, in its transaction.

    Args:
        admin: an instance admin, who is never asked for anything.
        place: finds a project by id; None when there is none.
        places_of: the projects where a version is: where it was (or is being) logged, and where it is linked to.
    """

    def __init__(
        self,
        *,
        user_id: int,
        username: str,
        admin: bool,
        grants: Grants,
        place: Callable[[int], Place | None],
        places_of: Callable[[int], Sequence[int]],
    ) -> None:
        self.user_id = user_id
        self.username = username
        self.admin = admin
        self.grants = grants
        self._place = place
        self._places_of = places_of
        self._levels: dict[int, tuple[Level, Place | None]] = {}
        self._asked = False

    def level(self, project_id: int) -> Level:
        """What the user may do in a project; nothing where there is none."""
        return Level.ADMIN if self.admin else self._known(project_id)[0]

    def artifact_level(self, artifact_id: int) -> Level:
        """The most that the user may do in any project where a version is."""
        if self.admin:
            return Level.ADMIN
        return max((self.level(number) for number in self._places_of(artifact_id)), default=Level.NONE)

    def read(self, project_id: int) -> None:
        self.require(Level.READ, project_id)

    def write(self, project_id: int) -> None:
        self.require(Level.WRITE, project_id)

    def govern(self, project_id: int) -> None:
        self.require(Level.ADMIN, project_id)

    def read_artifact(self, artifact_id: int) -> None:
        self.require_artifact(Level.READ, artifact_id)

    def write_artifact(self, artifact_id: int) -> None:
        self.require_artifact(Level.WRITE, artifact_id)

    def require_artifact(self, wanted: Level, artifact_id: int) -> None:
        """That the user may do something with a version by way of some project where it is.

        Raises:
            NotFound, Unauthorised: see `require`; in the words of the project where they may do most.
        """
        self._asked = True
        if self.admin:
            return
        places = self._places_of(artifact_id)
        if not places:
            raise self.unknown()
        self.require(wanted, max(places, key=self.level))

    def require(self, wanted: Level, project_id: int) -> None:
        """
        Raises:
            NotFound: the user may not even see the project.
            Unauthorised: they may see it, and not do that.
        """
        self._asked = True
        if self.admin:
            return
        level, place = self._known(project_id)
        if level == Level.NONE or place is None:
            raise self.unknown()
        if level < wanted:
            raise Unauthorised(
                f"{self.username} is {level.role} in {place}, and that takes the role {wanted.role}",
                hint=f"ask an admin of {place.entity_name} for it",
            )

    def require_entity(self, wanted: Level, entity_id: int, name: str, *, registry: bool = False) -> None:
        """That the user may make, or with ADMIN govern, projects or registries of an entity.

        Raises:
            NotFound: the user has no part in it.
            Unauthorised: they have one, and may not do that.
        """
        self._asked = True
        level = self.entity_level(entity_id, registry=registry)
        if level == Level.NONE:
            raise self.unknown_entity(name)
        if level < wanted:
            raise Unauthorised(
                f"{self.username} is {level.role} in '{name}', and that takes the role {wanted.role}",
                hint=f"ask an admin of {name} for it",
            )

    def entity_level(self, entity_id: int, *, registry: bool = False) -> Level:
        """What the user may do with the whole of an entity; in an organisation, whose other projects are its admins' alone."""
        if self.admin:
            return Level.ADMIN
        belongs = self.grants.organizations.get(entity_id, Level.NONE)
        if registry or belongs == Level.ADMIN:
            return belongs
        return self.grants.entities.get(entity_id, Level.READ if belongs else Level.NONE)

    def require_admin(self, what: str) -> None:
        """
        Raises:
            Unauthorised: the user is no instance admin.
        """
        self._asked = True
        if not self.admin:
            raise Unauthorised(
                f"only an instance admin may {what}, and {self.username} is none", hint="ask one, or use their key"
            )

    def allow(self) -> None:
        """Whoever has a key may do this."""
        self._asked = True

    def asked(self) -> bool:
        """Whether something was asked since the last time that this was."""
        asked, self._asked = self._asked or self.admin, False
        return asked

    def unknown_entity(self, name: str) -> NotFound:
        """Of one that there is not and of one that is none of the user's business."""
        hint = f"use '{self.username}', or a team of yours"
        return NotFound(f"there is no entity '{name[:80]}' that {self.username} may write to", hint=hint)

    def unknown(self) -> NotFound:
        return NotFound(f"nothing that {self.username} may see has this name or id")

    def _known(self, project_id: int) -> tuple[Level, Place | None]:
        if project_id not in self._levels:
            place = self._place(project_id)
            self._levels[project_id] = (Level.NONE if place is None else self._level(place), place)
        return self._levels[project_id]

    def _level(self, place: Place) -> Level:
        granted = self.grants.projects.get(place.id, Level.NONE)
        belongs = self.grants.organizations.get(place.entity_id, Level.NONE)
        own = self.grants.entities.get(place.entity_id, Level.NONE)
        if max(belongs, own) == Level.ADMIN:
            return Level.ADMIN
        if place.is_registry:
            return max(granted, Level.READ if belongs and place.access != RESTRICTED else Level.NONE)
        if place.access == RESTRICTED and place.user_id != self.user_id:
            own = Level.NONE
        return max(granted, own, _OPENED.get(place.access, Level.NONE))
