"""What can go wrong between a caller and the bridge.

    BridgeError
    ├── BridgeUnreachable    nobody answered within the caller's patience
    ├── BridgeUnauthorized   401 or 403: the token is missing, wrong or not enough
    ├── BridgeBadAnswer      something answered that is not the bridge: a login page, a cut body
    ├── ProblemError         the bridge said no, and why (RFC 9457); ``slug`` is what programs decide on
    ├── RunTimeout           the run was not over in time; it goes on
    └── InputError           an input, or a reference, that cannot be understood (also a ``ValueError``)

Every message is one sentence a person can act on. ``transient`` says whether the same request may
succeed a little later; the client has then already repeated it within its patience.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.client.models import Problem, ProblemField, RunModel

PROBLEM_PREFIX = "urn:kfbridge:problem:"


class BridgeError(Exception):
    """The root of everything the client raises about the bridge."""

    transient: bool = False
    retry_after_seconds: float | None = None


class BridgeUnreachable(BridgeError):
    """Nobody answered. ``sent`` is whether the request may have reached the bridge.

    Repeating is safe either way: reads change nothing and a submission carries its key.
    """

    transient = True

    def __init__(
        self, message: str, *, url: str, sent: bool, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.url = url
        self.sent = sent
        self.retry_after_seconds = retry_after_seconds


class BridgeUnauthorized(BridgeError):
    """The bridge wants a token, or another one than was sent."""


class BridgeBadAnswer(BridgeError):
    """The answer was not one of the bridge's: usually a proxy, a login page or a wrong URL."""


class ProblemError(BridgeError):
    """The bridge answered with a problem. ``problem`` is all it said."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(_sentence(problem))
        self.problem = problem
        self.transient = problem.retryable
        self.retry_after_seconds = problem.retry_after_seconds

    @property
    def slug(self) -> str:
        """The stable name of the kind of problem, such as ``invalid-arguments``."""
        return self.problem.type.removeprefix(PROBLEM_PREFIX)

    @property
    def type(self) -> str:
        """As ``slug``."""
        return self.slug

    @property
    def retryable(self) -> bool:
        """Whether the bridge itself says that the same request may succeed later."""
        return self.problem.retryable

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def errors(self) -> list[ProblemField]:
        """Each thing wrong with the request, with a JSON pointer to it."""
        return self.problem.errors


class RunTimeout(BridgeError):
    """The run was not over when the caller's time was. ``run`` is how it was seen last."""

    def __init__(self, run: RunModel, timeout_seconds: float) -> None:
        super().__init__(f"run {run.run_id} is {run.state}, not over after {timeout_seconds:g} s; it goes on")
        self.run = run
        self.timeout_seconds = timeout_seconds


class InputError(BridgeError, ValueError):
    """A value given as an input or as a reference names no data."""


def _sentence(problem: Problem) -> str:
    text = problem.detail or problem.title
    details = "; ".join(f"{field.pointer}: {field.detail}" for field in problem.errors)
    return f"{text} ({details})" if details and details not in text else text
