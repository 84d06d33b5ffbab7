"""Who may do what: roles per project, and the one rule that everything asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

EVERY = "*"
"""All projects, in a grant and for what belongs to no single one. No project is called so."""


class Role(StrEnum):
    """What somebody is in a project; each may do all that those before it may."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return list(Role).index(self)


class Action(StrEnum):
    """What somebody wants to do."""

    READ = "read"
    SUBMIT = "submit"
    """Submit, cancel, retry, reproduce; register pipelines; tell of lineage."""
    OPERATE = "operate"
    """Move aliases, release what is set aside, clear tasks in Airflow, see webhooks; for all projects: pause
    backends."""
    ADMINISTER = "administer"
    """Make, change and remove webhooks."""


LEAST: Mapping[Action, Role] = {
    Action.READ: Role.VIEWER,
    Action.SUBMIT: Role.SUBMITTER,
    Action.OPERATE: Role.OPERATOR,
    Action.ADMINISTER: Role.ADMIN,
}
"""The least role that may do it."""

_NO_GRANTS: Mapping[str, Role] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, how that is known (``kind``), and its role by project, ``EVERY`` for all of them; with an API
    token, whose name others may have, the ``token_id``."""

    name: str
    kind: str
    grants: Mapping[str, Role] = field(default_factory=lambda: _NO_GRANTS)
    token_id: str = ""

    def role_in(self, project: str) -> Role | None:
        """Its role there, the higher of the project's own and that for all; ``None``: it has none."""
        roles = [role for name in (project, EVERY) if (role := self.grants.get(name)) is not None]
        return max(roles, key=lambda role: role.rank, default=None)

    def projects_for(self, action: Action) -> frozenset[str] | None:
        """The projects that it may do that in; ``None``: in all."""
        if allows(self, action, EVERY):
            return None
        return frozenset(project for project in self.grants if allows(self, action, project))


def allows(principal: Principal, action: Action, project: str) -> bool:
    """Whether the principal may do that in the project; ``EVERY``: in all, or to what belongs to none."""
    role = principal.role_in(project)
    return role is not None and role.rank >= LEAST[action].rank


def grants_of(role: Role, projects: Collection[str]) -> dict[str, Role]:
    """One role in each of the projects."""
    return dict.fromkeys(projects, role)


def merged(*granted: Mapping[str, Role]) -> dict[str, Role]:
    """All grants together, the highest role of each project."""
    found: dict[str, Role] = {}
    for grants in granted:
        for project, role in grants.items():
            known = found.get(project)
            found[project] = role if known is None or role.rank > known.rank else known
    return found
