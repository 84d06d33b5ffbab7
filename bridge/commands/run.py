"""``kfbridge run``: run a pipeline here and now, on a backend of its own."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.containers import add_runner_options, runner_options
from bridge.commands.failures import FAILED, CommandError
from bridge.commands.options import add_command, add_json_option, add_secrets_option, count, seconds
from bridge.commands.pipelines import load_source
from bridge.commands.places import cache_dir
from bridge.commands.submit import add_pipeline_options

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.spec.load import Pipeline

_KEPT_RUNS = 50
_EPILOG = """\
examples:
  kfbridge run train.py -a epochs=5
  kfbridge run train.yaml -a 'days=["2013-01-01", "2013-01-02"]' --json

Environments and finished tasks are kept in the user's cache directory and used again.
exit codes: 0 succeeded, 1 failed, 2 usage, 3 canceled (also by Ctrl-C), 4 timeout, 5 no backend,
130 interrupted before the run had begun
"""


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "run",
        run,
        help_text="run a pipeline here and now, without bridge or cluster",
        description="Run a pipeline on this machine: compile it if it is Python, start a private backend, "
        "show states and logs, and end with the run's state. Nothing is left running.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "pipeline", metavar="PIPELINE", type=Path, help="Python source (.py) or a compiled pipeline (.yaml)"
    )
    add_pipeline_options(parser)
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="where runs, artifacts and logs are kept (default: in the user's cache directory)",
    )
    parser.add_argument(
        "--max-parallel", metavar="N", type=count, default=2, help="tasks that run at once (default: 2)"
    )
    add_secrets_option(parser)
    parser.add_argument(
        "--timeout", metavar="TIME", type=seconds, help="cancel the run after this long (exit code 4)"
    )
    parser.add_argument(
        "--caching",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether finished tasks may be reused (default: as compiled)",
    )
    parser.add_argument(
        "--logs",
        choices=("own", "all", "none"),
        default="own",
        help="show what the components write, also what KFP's executor writes around it, or nothing "
        "(default: own)",
    )
    add_runner_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the pipeline to its end."""
    import asyncio

    from bridge.commands.private_backend import reserved_dir, share_environments

    with ExitStack() as stack:
        cache = cache_dir(console.environ)
        try:
            directory: Path = args.data_dir or stack.enter_context(reserved_dir(cache / "run"))
            share_environments(directory, cache / "environments")
            args.container_cache = args.container_cache or cache / "containers"
        except OSError as error:
            raise CommandError(
                f"{error.filename} cannot be used: {error.strerror}",
                to_do="give another --data-dir, or set XDG_CACHE_HOME.",
                exit_code=FAILED,
            ) from error
        options = runner_options(args)
        if args.secrets_dir:
            options += ["--secrets-dir", str(args.secrets_dir)]
        if args.data_dir is None:
            # Nobody looks after a cache: it must not grow for ever.
            options += ["--keep-runs", str(_KEPT_RUNS)]
        args.data_dir = directory.resolve()
        return asyncio.run(_run(args, options, console))


async def _run(args: argparse.Namespace, options: list[str], console: Console) -> int:
    import asyncio

    from bridge.commands.interruption import listen_for_interruption, unless_interrupted
    from bridge.commands.private_backend import private_backend

    stop = listen_for_interruption()
    # Compiling takes as long as starting the backend does, and importing half of that: all at once.
    async with private_backend(args.data_dir, max_parallel=args.max_parallel, options=options) as backend:
        preparing = asyncio.create_task(asyncio.to_thread(_prepare, args))
        await asyncio.sleep(0)
        try:
            from bridge.commands.local_run import LocalRun
        except ImportError as error:
            from bridge.commands.serving import missing_extra

            raise missing_extra("run", "local", error) from error
        pipeline, arguments = await unless_interrupted(stop, preparing)
        url = await unless_interrupted(stop, asyncio.create_task(backend.url()))
        return await LocalRun(pipeline, arguments, args, console, stop).run_on(url)


def _prepare(args: argparse.Namespace) -> tuple[Pipeline, dict[str, Any]]:
    from bridge.commands.values import check_against, declared_types, read_arguments

    pipeline = load_source(args.pipeline, function=args.function, python=args.python)
    arguments = read_arguments(args.arguments, declared_types(pipeline))
    check_against(pipeline, arguments, (), f"run {args.pipeline}")
    return pipeline, arguments
