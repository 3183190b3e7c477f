"""What W&B has and this server does not: reports, and automations with their integrations.

Asking for a list of them is an honest question with the answer "none". Making one is refused: an automation that nothing fires
would only look like one.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ariadne import MutationType, ObjectType, SchemaBindable

from registry.errors import BadData
from registry.server.resolvers import Info

_NONE = {"edges": [], "page_info": {"end_cursor": None, "has_next_page": False}}

mutation = MutationType()
project = ObjectType("Project")
entity = ObjectType("Entity")
organization = ObjectType("Organization")


@mutation.field("createFilterTrigger")
@mutation.field("updateFilterTrigger")
@mutation.field("deleteTrigger")
@mutation.field("createGenericWebhookIntegration")
def no_automations(_: None, info: Info, input: dict[str, Any]) -> NoReturn:
    info.context.access.allow()
    raise BadData(
        "this server runs no automations: nothing here would fire one",
        hint="let the script that logs or promotes take the action, or use W&B's own server",
    )


project.set_field("triggers", lambda *_: [])
project.set_field("allViews", lambda *_, **__: _NONE)
entity.set_field("triggers", lambda *_, **__: _NONE)
entity.set_field("integrations", lambda *_, **__: _NONE)
organization.set_field("triggers", lambda *_, **__: _NONE)

bindables: list[SchemaBindable] = [mutation, project, entity, organization]
