"""Who asks, as routes use it: which projects exist for them, and what they may do there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bridge.domain.access import EVERY, LEAST, Action, Principal, Role, allows, grants_of
from bridge.service.access.sessions import SignedIn
from bridge.service.problems import ProblemError

NOBODY = Principal(name="", kind="nobody", grants=grants_of(Role.ADMIN, [EVERY]))
"""Whoever asks a service that asks nobody who they are."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's caller. What is of a project they have no role in does not exist for them (404); what
    their role there does not allow is refused (403). ``session``: they signed in with a browser."""

    principal: Principal
    session: SignedIn | None = None

    @property
    def actor(self) -> str:
        """The name for the audit log; empty if nobody was asked for one."""
        return self.principal.name

    @property
    def projects(self) -> tuple[str, ...]:
        """The condition that lists are read with, as ``narrowed`` without a wish."""
        return self.narrowed()

    @property
    def sees_all(self) -> bool:
        """Whether every project exists for them, and what belongs to none."""
        return self.principal.projects_for(Action.READ) is None

    def sees(self, project: str) -> bool:
        """Whether the project exists for them; the empty one is what belongs to none."""
        return allows(self.principal, Action.READ, project or EVERY)

    def narrowed(self, asked: Collection[str] = (), action: Action = Action.READ) -> tuple[str, ...]:
        """The projects that a list is read of, which asked for some or, if empty, for all; an empty answer
        means all, too.

        If none is left the answer is ``("*",)``: no project is called so.
        """
        seen = self.principal.projects_for(action)
        if seen is None:
            return tuple(asked)
        left = seen.intersection(asked) if asked else seen
        return tuple(sorted(left)) or (EVERY,)

    def narrowed_to(self, asked: str | None) -> tuple[str, ...]:
        """As ``narrowed``, for a wish of one project at most."""
        return self.narrowed(() if asked is None else (asked,))

    def may(self, action: Action, project: str) -> bool:
        """Whether they may do it there; in all projects, if it is empty or ``*``."""
        return allows(self.principal, action, project or EVERY)

    def need_anywhere(self, action: Action) -> None:
        """Refuse what they may not do in any project."""
        if self.principal.projects_for(action) == frozenset():
            raise ProblemError(
                "forbidden", f"{self._name} may not do this in any project; it takes {LEAST[action]}"
            )

    def need(self, action: Action, project: str) -> None:
        """Refuse what they may not do there, and a project that is none."""
        if project == EVERY:
            told = "no project is called *, which stands for all"
            raise ProblemError("invalid-request", told, errors=[("/project", told)])
        self._need(action, project or EVERY)

    def need_everywhere(self, action: Action) -> None:
        """Refuse what they may not do in all projects: it concerns them all, or none."""
        self._need(action, EVERY)

    def _need(self, action: Action, project: str) -> None:
        if allows(self.principal, action, project):
            return
        where = "all projects together" if project == EVERY else f"project {project}"
        role = self.principal.role_in(project)
        has = f"is {role} in {where}" if role else f"has no role in {where}"
        raise ProblemError("forbidden", f"{self._name} {has}; this takes {LEAST[action]}")

    @property
    def _name(self) -> str:
        return self.principal.name or "the caller"
