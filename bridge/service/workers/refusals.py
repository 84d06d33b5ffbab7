"""What a person is told when a backend refuses: what happened, where, and what to do about it."""

from __future__ import annotations

from bridge.domain.lineage import RunError
from bridge.domain.redaction import without_credentials
from bridge.kfp_api.errors import KfpAuthError, KfpBadAnswer, KfpBadUrl, KfpError, KfpNotFound
from bridge.service.backends import Backend


def refusal(error: KfpError, backend: Backend, doing: str) -> RunError:
    """The error to keep with a run that the backend refused while ``doing`` something for it."""
    where = f"backend {backend.name} ({without_credentials(backend.settings.url)})"
    text = f"{where} refused {doing}: {error.message}"
    return RunError(code=_code(error), message=f"{text}. {_advice(error, backend)}")


def _code(error: KfpError) -> str:
    return f"HTTP_{error.status}" if error.status else type(error).__name__


def _advice(error: KfpError, backend: Backend) -> str:
    if isinstance(error, KfpAuthError) and error.status == 403:
        return (
            "The token is known but may not do this: grant its service account access to the namespace, "
            "or name another namespace; then submit it again."
        )
    if isinstance(error, KfpAuthError):
        if backend.settings.token_file:
            return (
                f"Check the bearer token in {backend.settings.token_file} (setting token_file), "
                "then submit it again."
            )
        if backend.settings.token:
            return (
                "The bearer token is wrong or expired: set KFBRIDGE_KFP_TOKEN (setting token), "
                "then submit it again."
            )
        return "The backend wants a bearer token: set KFBRIDGE_KFP_TOKEN or token_file, then submit it again."
    if isinstance(error, (KfpNotFound, KfpBadAnswer, KfpBadUrl)):
        return (
            "Check that the backend's url is the KFP UI or gateway address, the one under which "
            "/apis/v2beta1/healthz answers; then submit it again."
        )
    return "Correct what the backend names and submit again."
