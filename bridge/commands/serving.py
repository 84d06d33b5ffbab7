"""``kfbridge serve``, ``worker`` and ``migrate``: the service's processes and its database."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.failures import FAILED, UNREACHABLE, CommandError
from bridge.commands.options import add_command

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.lineage.database import Database
    from bridge.service.settings import ServiceSettings

_TO_REACH_IT = "see that the database runs, and that --database-url or KFBRIDGE_DATABASE_URL names it."


def register(commands: Any) -> None:
    """Declare the commands."""
    serve = add_command(
        commands,
        "serve",
        run_serve,
        help_text="run the bridge service: API, pages and workers",
        description="Run the bridge service: its API, its pages and, unless told otherwise, its workers.",
    )
    serve.add_argument("--host", metavar="ADDRESS", help="the address to serve on (default: 127.0.0.1)")
    serve.add_argument(
        "--port", metavar="N", type=int, help="the port to serve on; 0 chooses a free one (default: 8700)"
    )
    serve.add_argument(
        "--workers",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether this process also runs the workers (default: yes)",
    )
    serve.add_argument(
        "--migrate", action="store_true", default=None, help="migrate a PostgreSQL database at the start"
    )
    worker = add_command(
        commands,
        "worker",
        run_worker,
        help_text="run the workers alone",
        description="Run the workers that submit, follow and mirror runs, without the API.",
    )
    for parser in (serve, worker):
        add_service_options(parser)
        add_kfp_url_option(parser)
    migrate = add_command(
        commands,
        "migrate",
        run_migrate,
        help_text="bring the database to this version's schema",
        description="Bring the lineage database to this version's schema. Running it again changes nothing.",
    )
    add_service_options(migrate)


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Which database, and where the settings are."""
    add_database_options(parser)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="a TOML file of settings (KFBRIDGE_CONFIG)"
    )


def add_database_options(parser: argparse.ArgumentParser) -> None:
    """Which database, and what is logged."""
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help="sqlite:///path or postgresql://… (KFBRIDGE_DATABASE_URL; default: sqlite:///kfbridge.db)",
    )
    parser.add_argument(
        "--log-level",
        metavar="LEVEL",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        help="the least level that is logged (default: INFO)",
    )


def add_kfp_url_option(parser: argparse.ArgumentParser) -> None:
    """Which backend."""
    parser.add_argument(
        "--kfp-url", metavar="URL", help="the backend: the KFP UI or gateway address (KFBRIDGE_KFP_URL)"
    )


def run_serve(args: argparse.Namespace, console: Console) -> int:
    """Serve until interrupted."""
    settings = read_settings(args, console, "serve")
    _need_backend(settings)
    try:
        from bridge.service.main import StartError, serve
    except ImportError as error:
        raise missing_extra("serve", "service", error) from error
    try:
        serve(settings)
    except (StartError, OSError) as error:
        raise CommandError(f"'kfbridge serve' did not start: {error}", exit_code=FAILED) from error
    return 0


def run_worker(args: argparse.Namespace, console: Console) -> int:
    """Work until interrupted."""
    settings = read_settings(args, console, "worker")
    _need_backend(settings)
    try:
        from bridge.service.main import StartError, worker
    except ImportError as error:
        raise missing_extra("worker", "service", error) from error
    try:
        worker(settings)
    except (StartError, OSError) as error:
        raise CommandError(f"'kfbridge worker' did not start: {error}", exit_code=FAILED) from error
    return 0


def run_migrate(args: argparse.Namespace, console: Console) -> int:
    """Migrate and tell from where to where."""
    settings = read_settings(args, console, "migrate")
    try:
        from bridge.lineage.database import Database
        from bridge.lineage.errors import DatabaseUnavailable, LineageError
    except ImportError as error:
        raise missing_extra("migrate", "service", error) from error
    try:
        database = Database(settings.database_url)
        try:
            before = database.revision()
            database.migrate()
            after = database.revision()
        finally:
            database.close()
    except DatabaseUnavailable as error:
        raise CommandError(
            f"{error}",
            to_do=_TO_REACH_IT,
            exit_code=UNREACHABLE,
        ) from error
    except (LineageError, OSError) as error:
        raise CommandError(f"the database cannot be migrated: {error}", exit_code=FAILED) from error
    if before == after:
        console.result(f"the database is at revision {after} already")
    else:
        console.result(f"the database went from {before or 'nothing'} to revision {after}")
    return 0


@contextmanager
def opened_database(url: str, command: str) -> Iterator[Database]:
    """The database at this program's schema; what goes wrong with it is said in plain words."""
    try:
        from bridge.lineage.database import Database
        from bridge.lineage.errors import DatabaseUnavailable, LineageError
    except ImportError as error:
        raise missing_extra(command, "service", error) from error
    try:
        database = Database(url)
        try:
            database.check_schema()
            yield database
        finally:
            database.close()
    except DatabaseUnavailable as error:
        raise CommandError(f"{error}", to_do=_TO_REACH_IT, exit_code=UNREACHABLE) from error
    except (LineageError, OSError, ValueError) as error:
        raise CommandError(f"'kfbridge {command}' did not work: {error}", exit_code=FAILED) from error


def missing_extra(command: str, extra: str, error: ImportError) -> Exception:
    """What to say when a command's dependencies are not installed; other import errors stay as they are."""
    missing = (error.name or "").partition(".")[0]
    if missing in ("bridge", ""):
        return error
    return CommandError(
        f"'kfbridge {command}' needs more than the base installation: {missing} is not there",
        to_do=f"pip install 'airflow-kfp-bridge[{extra}]'",
    )


def read_settings(args: argparse.Namespace, console: Console, command: str) -> ServiceSettings:
    """The settings of the command line, the environment and the file. Raises ``CommandError``."""
    try:
        from bridge.service.settings import SettingsError
        from bridge.service.settings_sources import load_settings
    except ImportError as error:
        raise missing_extra(command, "service", error) from error
    names = ("database_url", "host", "port", "workers", "migrate", "kfp_url", "log_level")
    overrides = {name: getattr(args, name, None) for name in names}
    try:
        settings = load_settings(console.environ, config_file=args.config, overrides=overrides)
        if command == "serve":
            settings.check_served()
        return settings
    except SettingsError as error:
        raise CommandError(
            "the settings cannot be used",
            details=str(error).splitlines(),
            to_do="correct the option, the KFBRIDGE_… variable or the line of the TOML file; "
            "docs/service.md lists them.",
        ) from error


def _need_backend(settings: ServiceSettings) -> None:
    if not settings.backends:
        raise CommandError(
            "there is no backend to run pipelines on",
            to_do="give --kfp-url (or KFBRIDGE_KFP_URL, or [[backends]] in the TOML file). Without a "
            "cluster, start one here with 'kfbridge local' and give --kfp-url http://127.0.0.1:8888.",
        )
