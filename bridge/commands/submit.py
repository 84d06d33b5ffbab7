"""``kfbridge submit``: hand a pipeline to the bridge, and wait for it if asked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.commands.connection import open_client
from bridge.commands.failures import CommandError, explain_bridge_error
from bridge.commands.options import (
    add_bridge_options,
    add_command,
    add_compiling_options,
    add_json_option,
    count,
    pair,
    seconds,
)

if TYPE_CHECKING:
    from bridge.client.models import InputModel, RunModel, SubmitRequest
    from bridge.client.sync import BridgeClient
    from bridge.commands.console import Console
    from bridge.spec.load import Pipeline

_EPILOG = """\
examples:
  kfbridge submit train.yaml -a epochs=5 --input data=file:///data/day=05 --wait
  kfbridge submit train.yaml --key "nightly-$(date +%F)" --wait --timeout 2h

The run's id goes to standard output, everything else to standard error.
exit codes: 0 submitted or succeeded, 1 failed, 2 refused, 3 canceled, 4 timeout, 5 bridge unreachable,
130 interrupted
"""


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "submit",
        run,
        help_text="hand a pipeline to the bridge",
        description="Hand a compiled pipeline to the bridge, which runs it on its backend.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "pipeline",
        metavar="PIPELINE",
        help="a compiled pipeline (.yaml), Python source that kfp compiles (.py), or NAME[@ALIAS] of a "
        "registered one (ALIAS may be a version's name)",
    )
    add_pipeline_options(parser)
    _add_submission_options(parser)
    add_waiting_options(parser)
    add_bridge_options(parser)
    add_json_option(parser)


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """What to run with which arguments; ``kfbridge run`` takes the same."""
    parser.add_argument(
        "-a",
        "--argument",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=pair,
        dest="arguments",
        help="an argument, read by its declared type; NAME=@FILE reads a JSON file (repeatable)",
    )
    add_compiling_options(parser)


def _add_submission_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the submission")
    group.add_argument(
        "--input",
        metavar="NAME=URI",
        action="append",
        default=[],
        type=pair,
        dest="inputs",
        help="data the run reads, recorded in its version and handed to the parameter NAME (repeatable)",
    )
    group.add_argument(
        "--key", metavar="KEY", help="names this submission: however often it is sent, it is one run"
    )
    group.add_argument(
        "--try",
        metavar="N",
        type=count,
        default=1,
        dest="try_number",
        help="which try of the same --key this is; a higher one runs again what failed (default: 1)",
    )
    group.add_argument(
        "--on-retry",
        choices=("new_run", "retry_failed_tasks"),
        default="new_run",
        help="what a higher try of a failed run gets (default: new_run)",
    )
    group.add_argument("--backend", metavar="NAME", help="the backend to run on (default: the bridge's)")
    group.add_argument("--project", metavar="NAME", default="default", help="the project (default: default)")
    group.add_argument("--namespace", metavar="NAME", help="the namespace, on a multi-user KFP")
    group.add_argument("--experiment", metavar="NAME", help="the experiment to file the run under")
    group.add_argument("--name", metavar="TEXT", dest="display_name", help="the run's name for people")
    group.add_argument(
        "--label",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=pair,
        dest="labels",
        help="a label (repeatable)",
    )
    group.add_argument("--gate", metavar="CEL", help="a rule for metrics, such as 'evaluate.auc >= 0.8'")
    group.add_argument("--service-account", metavar="NAME", help="the Kubernetes service account of the run")
    group.add_argument("--pipeline-root", metavar="URI", help="where the run's artifacts go")
    group.add_argument(
        "--caching",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether finished tasks may be reused (default: as compiled)",
    )


def add_waiting_options(parser: argparse.ArgumentParser) -> None:
    """Whether and how to wait for the run; ``kfbridge retry`` takes the same."""
    group = parser.add_argument_group("waiting")
    group.add_argument("--wait", action="store_true", help="wait for the run's end; the exit code tells it")
    group.add_argument(
        "--timeout",
        metavar="TIME",
        type=seconds,
        help="wait no longer than this, such as 90s or 2h (exit code 4)",
    )
    group.add_argument(
        "--cancel-on-interrupt",
        action="store_true",
        help="cancel the run when this command is interrupted (Ctrl-C or SIGTERM) while it waits",
    )
    group.add_argument(
        "--require-gate",
        action="store_true",
        help="exit with 1 when the run succeeded but its gate did not pass",
    )


def check_waiting_options(args: argparse.Namespace) -> None:
    """Refuse options that would silently do nothing."""
    if not args.wait and (args.timeout is not None or args.cancel_on_interrupt or args.require_gate):
        raise CommandError("--timeout, --cancel-on-interrupt and --require-gate only make sense with --wait")


def _check_key_options(args: argparse.Namespace) -> None:
    if args.key is not None and not args.key.strip():
        raise CommandError("--key is empty", to_do="name the submission, or leave --key out.")
    if args.try_number > 1 and args.key is None:
        raise CommandError(
            f"--try {args.try_number} only makes sense with --key",
            to_do="give the --key of the earlier tries.",
        )


def run(args: argparse.Namespace, console: Console) -> int:
    """Submit, and wait if asked."""
    from bridge.client.errors import BridgeError
    from bridge.commands.waiting import wait_and_report

    check_waiting_options(args)
    _check_key_options(args)
    with open_client(args, console) as client:
        request = build_request(args, console, client)
        try:
            submitted = client.submit(request, args.key)
        except BridgeError as error:
            raise explain_bridge_error(error, "the submission") from error
        for warning in submitted.warnings:
            console.note(f"warning: {warning}")
        if not args.wait:
            return _tell_submitted(submitted, args, console)
    return wait_and_report(submitted, args, console)


def build_request(args: argparse.Namespace, console: Console, client: BridgeClient) -> SubmitRequest:
    """The request that the options describe, checked against the pipeline where it is at hand."""
    from bridge.client.models import PipelineVersionModel, SubmitRequest
    from bridge.commands.values import check_against, declared_types, read_arguments, read_inputs
    from bridge.domain.aliases import split_alias

    pipeline = _pipeline_of(args)
    types = None if pipeline is None else declared_types(pipeline)
    arguments = read_arguments(args.arguments, types)
    inputs: list[InputModel] = read_inputs(args.inputs, console, client)
    if pipeline is not None:
        check_against(pipeline, arguments, inputs, f"submit {args.pipeline}")
    registered = None
    if pipeline is None:
        name, alias = split_alias(args.pipeline) or (args.pipeline, None)
        registered = PipelineVersionModel(name=name, alias=alias)
    return SubmitRequest(
        backend=args.backend,
        project=args.project,
        namespace=args.namespace,
        spec=None if pipeline is None else pipeline.text,
        pipeline=registered,
        arguments=arguments,
        inputs=inputs,
        experiment=args.experiment,
        display_name=args.display_name,
        service_account=args.service_account,
        pipeline_root=args.pipeline_root,
        caching=args.caching,
        labels=dict(args.labels),
        on_retry=args.on_retry,
        gate=args.gate,
        origin=_origin(args.try_number),
    )


def _pipeline_of(args: argparse.Namespace) -> Pipeline | None:
    from bridge.commands.pipelines import is_file_name, load_source

    if not is_file_name(args.pipeline):
        return None
    return load_source(Path(args.pipeline), function=args.function, python=args.python)


def _origin(try_number: int) -> Any:
    import getpass
    import platform

    from bridge.client.models import OriginModel

    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = None
    return OriginModel(scheduler="cli", deployment=platform.node() or None, user=user, try_number=try_number)


def _tell_submitted(run: RunModel, args: argparse.Namespace, console: Console) -> int:
    if args.json:
        console.result_json(run.model_dump(mode="json"))
        return 0
    console.result(str(run.run_id))
    console.note(f"{run.display_name} is submitted to {run.backend} ({run.state}).")
    if run.links.bridge:
        console.note(f"  look at it   {run.links.bridge}")
    console.note(f"  or run       kfbridge show {str(run.run_id)[:8]}")
    return 0
