"""What a file of settings would change: of what lives in the database, and of what processes run with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlmodel import Session

from bridge.domain.redaction import without_credentials
from bridge.domain.webhooks import make_secret, pattern_problem, secret_problem
from bridge.lineage import in_use, usage, webhooks
from bridge.lineage.database import Database
from bridge.lineage.tables import PRICES
from bridge.lineage.webhooks import StoredWebhook
from bridge.service.costing import prices_of
from bridge.service.settings import ServiceSettings, SettingsError
from bridge.service.webhook_settings import WebhookSettings

Kind = Literal["add", "change", "remove"]
ACTOR = "kfbridge apply"
_SECRET_BYTES = 32
_BOTH_SECRETS_SECONDS = 24 * 3600.0
# What is no process's own, and what is not told in clear.
_IN_THE_DATABASE = frozenset({"webhooks"})
# What a process is mostly told on its command line, which no file knows.
_BY_OPTION = frozenset({"host", "port", "workers", "migrate", "log_level"})
_SECRET_PLACES = ("database_url", "content_options")
_HIDDEN = "(secret)"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; ``restart`` names the processes that have to be started anew for it, if any has."""

    kind: Kind
    subject: str
    what: str
    restart: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """The differences, and the work that makes those in the database; ``made`` are secrets made up by it."""

    changes: list[Change] = field(default_factory=list)
    work: list[Callable[[Session], None]] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)

    def add(self, change: Change, work: Callable[[Session], None] | None = None) -> None:
        """A difference, and what removes it."""
        self.changes.append(change)
        if work is not None:
            self.work.append(work)


def plan(session: Session, settings: ServiceSettings, *, prune: bool = False) -> Plan:
    """What differs. With ``prune`` webhooks that the settings do not name are removed; else they are left.

    Raises ``SettingsError`` for a webhook that cannot be.
    """
    found = Plan()
    _plan_webhooks(found, settings.webhooks, webhooks.list_webhooks(session), prune=prune)
    _plan_prices(found, session, settings)
    found.changes += _of_processes(in_use.settings_in_use(session), settings)
    return found


def carry_out(session: Session, planned: Plan) -> None:
    """Make what lives in the database what the settings say; in one transaction with ``plan``."""
    for work in planned.work:
        work(session)


def note_settings(database: Database, role: str, holder: str, settings: ServiceSettings) -> None:
    """Write down with which settings a process begins, secrets left out."""
    content = shown(settings)
    database.transact(lambda s: in_use.note_settings(s, role, holder, content), repeatable=True)


def serving_role(settings: ServiceSettings) -> str:
    """What runs in a process that serves: the API alone, or the workers too."""
    return "serve with workers" if settings.workers else "serve"


def shown(settings: ServiceSettings) -> dict[str, Any]:
    """Settings as JSON that may be shown; secrets are masked; what lives in the database, or is an
    option of the command, is left out."""
    told = settings.model_dump(mode="json", exclude=set(_IN_THE_DATABASE | _BY_OPTION))
    for name in _SECRET_PLACES:
        if told.get(name):
            told[name] = _HIDDEN
    currency = told.pop("currency")
    told["prices"] = {
        _priced(backend, resource): f"{price:g} {currency}"
        for (backend, resource), price in prices_of(settings).per_hour.items()
    }
    return {name: _without_credentials(value) for name, value in told.items()}


def _without_credentials(value: Any) -> Any:
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {name: _without_credentials(one) for name, one in value.items()}
    return [_without_credentials(one) for one in value] if isinstance(value, list) else value


def _plan_webhooks(
    found: Plan, wanted: Sequence[WebhookSettings], stored: Sequence[StoredWebhook], *, prune: bool
) -> None:
    known = {(hook.project, hook.url): hook for hook in stored}
    for one in wanted:
        hook = known.pop((one.project, one.url), None)
        secret = _secret_of(one)
        subject = f"webhook {one.url}" + (f" of project {one.project}" if one.project else "")
        if hook is None:
            _plan_new(found, subject, one, secret)
        else:
            _plan_changed(found, subject, one, hook, secret)
    for hook in known.values() if prune else ():
        remove = partial(_remove, webhook_id=hook.webhook_id)
        found.add(Change("remove", f"webhook {hook.url}", "the file does not name it"), remove)


def _plan_new(found: Plan, subject: str, one: WebhookSettings, secret: str | None) -> None:
    def add(session: Session) -> None:
        signing = secret or make_secret(secrets.token_bytes(_SECRET_BYTES))
        made = webhooks.add_webhook(
            session,
            url=one.url,
            secret=signing,
            types=one.types,
            project=one.project,
            description=one.description,
            actor=ACTOR,
        )
        if not one.active:
            webhooks.change_webhook(session, made.webhook_id, active=False, actor=ACTOR)
        if secret is None:
            found.made[one.url] = signing

    found.add(Change("add", subject, ", ".join(one.types) or "every type of event"), add)


def _plan_changed(
    found: Plan, subject: str, one: WebhookSettings, hook: StoredWebhook, secret: str | None
) -> None:
    values: dict[str, Any] = {"types": one.types, "description": one.description, "active": one.active}
    changed = {name: value for name, value in values.items() if getattr(hook, name) != value}
    if changed:
        told = "; ".join(f"{name}: {_text(getattr(hook, name))} → {_text(changed[name])}" for name in changed)
        found.add(
            Change("change", subject, told), partial(_change, webhook_id=hook.webhook_id, values=changed)
        )
    if secret is not None and secret not in hook.secrets[:1]:
        rotate = partial(_rotate, webhook_id=hook.webhook_id, secret=secret)
        found.add(Change("change", subject, "secret: another one; for a day both sign"), rotate)


def _change(session: Session, *, webhook_id: UUID, values: dict[str, Any]) -> None:
    webhooks.change_webhook(session, webhook_id, actor=ACTOR, **values)


def _rotate(session: Session, *, webhook_id: UUID, secret: str) -> None:
    webhooks.rotate_secret(session, webhook_id, secret, both_for_seconds=_BOTH_SECRETS_SECONDS, actor=ACTOR)


def _remove(session: Session, *, webhook_id: UUID) -> None:
    webhooks.remove_webhook(session, webhook_id, actor=ACTOR)


def _secret_of(one: WebhookSettings) -> str | None:
    problems = [problem for pattern in one.types if (problem := pattern_problem(pattern)) is not None]
    secret = one.secret.get_secret_value() if one.secret else None
    if one.secret_file is not None:
        try:
            secret = one.secret_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            problems.append(f"the secret file {one.secret_file} cannot be read: {error.strerror}")
    if secret is not None and (problem := secret_problem(secret)) is not None:
        problems.append(problem)
    if problems:
        raise SettingsError("\n".join(f"webhook {one.url}: {problem}" for problem in problems))
    return secret


def _plan_prices(found: Plan, session: Session, settings: ServiceSettings) -> None:
    prices = prices_of(settings)
    rows = session.execute(select(PRICES)).mappings()
    before = {(row["backend"], row["resource"]): f"{row['per_hour']:g} {row['currency']}" for row in rows}
    after = {key: f"{price:g} {settings.currency}" for key, price in prices.per_hour.items()}
    differing = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    for key in differing:
        backend, resource = key
        subject = f"price of {_priced(backend, resource)}"
        found.changes.append(_compared(subject, before.get(key), after.get(key), ()))
    if differing:
        found.work.append(lambda s: usage.store_prices(s, prices, settings.currency))


def _priced(backend: str, resource: str) -> str:
    return resource + (f" at {backend}" if backend else "")


def _of_processes(running: Sequence[in_use.SettingsInUse], settings: ServiceSettings) -> Iterator[Change]:
    wanted = dict(_flat(shown(settings)))
    by_difference: dict[tuple[str, str | None, str | None], list[str]] = {}
    for one in running:
        before = dict(_flat(one.content))
        for name in before.keys() | wanted.keys():
            if before.get(name) != wanted.get(name):
                key = (name, _text(before.get(name)), _text(wanted.get(name)))
                by_difference.setdefault(key, []).append(f"{one.role} ({one.holder})")
    for (name, earlier, later), who in sorted(
        by_difference.items(), key=lambda one: tuple(str(part) for part in one[0])
    ):
        yield _compared(f"setting {name}", earlier, later, tuple(who))


def _compared(subject: str, before: str | None, after: str | None, restart: tuple[str, ...]) -> Change:
    if before is None:
        return Change("add", subject, str(after), restart)
    if after is None:
        return Change("remove", subject, before, restart)
    return Change("change", subject, f"{before} → {after}", restart)


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each single setting by its path; things of a list that have a name by that name."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _flat(one, f"{place}.{name}" if place else str(name))
    elif (
        isinstance(value, list) and value and all(isinstance(one, Mapping) and "name" in one for one in value)
    ):
        for one in value:
            yield from _flat(
                {key: part for key, part in one.items() if key != "name"}, f"{place}.{one['name']}"
            )
    else:
        yield place, value


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return ", ".join(str(one) or '""' for one in value) or "none"
    return str(value)
