"""``@task.kubeflow_pipeline``: a function that returns a pipeline's arguments, as a task that runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

from bridge.provider.compat import determine_kwargs
from bridge.provider.operators import KubeflowPipelineOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class _KubeflowPipelineDecoratedOperator(DecoratedOperator, KubeflowPipelineOperator):
    """Calls the function when the task runs, and runs the pipeline with the arguments that it returns.

    They are taken as they are: a template in them is not rendered, for what a function read from
    somewhere may hold anything. A task that waits for a bridge that is away calls its function again.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *KubeflowPipelineOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **KubeflowPipelineOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.kubeflow_pipeline"
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("arguments", SET_DURING_EXECUTION) is not SET_DURING_EXECUTION:
            raise TypeError("@task.kubeflow_pipeline takes no arguments=: the function returns them")
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            arguments=SET_DURING_EXECUTION,
            **kwargs,
        )

    def _submit(self, context: Context, *, deadline: float | None, give_up_at: float) -> Any:
        known = {**self.op_kwargs, **{k: v for k, v in context.items() if k in KNOWN_CONTEXT_KEYS}}
        given = determine_kwargs(self.python_callable, self.op_args, known)
        self.arguments = self.python_callable(*self.op_args, **given)
        return super()._submit(context, deadline=deadline, give_up_at=give_up_at)


def kubeflow_pipeline_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,
    **kwargs: Any,
) -> TaskDecorator:
    """Wraps a function into a ``KubeflowPipelineOperator`` whose ``arguments`` it returns.

    Takes the operator's parameters but for ``arguments``. The result is the operator's reference to the
    run; ``multiple_outputs`` pushes each of its members as an XCom of its own.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        # Airflow would conclude it from the function's annotation, which speaks of the arguments.
        multiple_outputs=bool(multiple_outputs),
        decorated_operator_class=_KubeflowPipelineDecoratedOperator,
        **kwargs,
    )
