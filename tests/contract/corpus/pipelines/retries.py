"""Retries, of a task and of a nested pipeline, with success and in vain."""

from kfp import dsl


@dsl.container_component
def flaky(place: str, needed: int):
    """Fails until it was tried as often as needed."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'echo x >> "$0"; test "$(wc -l < "$0")" -ge "$1"'],
        args=[place, needed],
    )


@dsl.pipeline(name="retries")
def retries(place: str):
    """Succeeds at the third attempt of four."""
    flaky(place=place, needed=3).set_retry(num_retries=3, backoff_duration="0s", backoff_factor=1.0)


@dsl.pipeline(name="retries-in-vain")
def retries_in_vain(place: str):
    """Three attempts are not enough."""
    flaky(place=place, needed=9).set_retry(num_retries=2, backoff_duration="0s", backoff_factor=1.0)


@dsl.pipeline(name="once-more")
def once_more(place: str):
    """Fails at its first attempt."""
    flaky(place=place, needed=2)


@dsl.pipeline(name="retries-of-nested")
def retries_of_nested(place: str):
    """The policy is the nested pipeline's."""
    once_more(place=place).set_retry(num_retries=1, backoff_duration="0s", backoff_factor=1.0)
