"""Pipelines of container components that any machine with a shell can run, written with the kfp SDK.

kfp reads the annotations themselves, so they must not be postponed here.
"""

from kfp import dsl


@dsl.container_component
def say(text: str, said: dsl.OutputPath(str)):  # type: ignore[valid-type]
    """Say a text, in the log and as an output."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'echo "saying $0"; mkdir -p "$(dirname "$1")"; printf %s "$0" > "$1"'],
        args=[text, said],
    )


@dsl.container_component
def wait(seconds: int, pids: str):
    """Wait, in a child process of its own; both processes write their ids into the file ``pids``."""
    script = (
        'if [ -n "$1" ]; then echo $$ > "$1"; fi; sleep $0 & if [ -n "$1" ]; then echo $! >> "$1"; fi; wait'
    )
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", script], args=[seconds, pids])


@dsl.container_component
def fail(word: str):
    """Say a word and fail."""
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", "echo $0 >&2; exit 3"], args=[word])


@dsl.pipeline(name="saying")
def saying(text: str = "hello") -> str:
    """Two tasks, the second of which repeats the first."""
    first = say(text=text)
    return say(text=f"again {first.outputs['said']}").outputs["said"]


@dsl.pipeline(name="waiting")
def waiting(seconds: int = 600, pids: str = ""):
    """One task that takes long, after one that does not."""
    wait(seconds=seconds, pids=pids).after(say(text="before"))


@dsl.pipeline(name="failing")
def failing():
    """One task that fails."""
    fail(word="woe")


@dsl.container_component
def hide(pids: str):
    """Start processes that do not want to end: one that ignores SIGTERM, one in a session of its own whose
    parent has gone. All write their ids into the file ``pids``."""
    script = (
        'echo $$ > "$0"; (trap "" TERM INT HUP; while :; do sleep 1; done) & echo $! >> "$0"; '
        '(setsid sh -c \'trap "" TERM HUP; echo $$ >> "$0"; while :; do sleep 1; done\' "$0" &) ; '
        'trap "" TERM; while :; do sleep 1; done'
    )
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", script], args=[pids])


@dsl.pipeline(name="hiding")
def hiding(pids: str):
    """One task whose processes hide from its end."""
    hide(pids=pids)
