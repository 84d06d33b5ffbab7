"""What ``docker compose up`` needs once: secrets of its own, and folders that their users may write to.

Runs as root in a container that ends. What is there already stays as it is.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

SECRETS = Path("/run/kfbridge")
AIRFLOW_USER = 50000
# What the local backend may know; the components that it runs may be anybody's code, and know it too.
LOCAL_SECRETS = Path("/run/local")
# The object store with its buckets, and the local backend's files.
STORE = Path("/s3")
BUCKETS = ("lake", "mlpipeline")
FOLDERS = (STORE, *(STORE / bucket for bucket in BUCKETS), Path("/var/lib/kfbridge"))
STORE_URL = "http://s3:7070"
REGION = "us-east-1"
NAMES = (
    "postgres-password",
    "kfbridge-password",
    "airflow-password",
    "api-token",
    "s3-key",
    "s3-secret",
    "jwt-secret",
)


def main() -> None:
    for name in NAMES:
        keep(name, lambda: secrets.token_hex(24))
    keep("fernet-key", lambda: base64.urlsafe_b64encode(os.urandom(32)).decode())
    keep(
        "kfbridge-database-url",
        lambda: f"postgresql://kfbridge:{read('kfbridge-password')}@postgres/kfbridge",
    )
    keep(
        "airflow-database-url",
        lambda: f"postgresql+psycopg2://airflow:{read('airflow-password')}@postgres/airflow",
    )
    keep("connections.json", connections)
    keep("service.toml", service)
    keep("artifact-options", artifact_options, LOCAL_SECRETS)
    for folder in FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, AIRFLOW_USER, 0)


def connections() -> str:
    """Airflow's connections to the bridge and to the object store."""
    bridge = {"conn_type": "kfbridge", "host": "http://service:8700", "password": read("api-token")}
    store = {
        "conn_type": "aws",
        "login": read("s3-key"),
        "password": read("s3-secret"),
        "extra": {"endpoint_url": STORE_URL, "region_name": REGION},
    }
    return json.dumps({"kfbridge_default": bridge, "lake": store})


def service() -> str:
    """What the bridge passes artifacts through with; JSON's texts and objects are TOML's here."""
    pairs = store_options().items()
    return "\n".join(
        ["[content_options.s3]", *(f"{name} = {json.dumps(value)}" for name, value in pairs), ""]
    )


def artifact_options() -> str:
    """How the local backend reaches the object store."""
    return json.dumps({**store_options(), "client_kwargs": {"region_name": REGION}})


def store_options() -> dict[str, str]:
    return {"endpoint_url": STORE_URL, "key": read("s3-key"), "secret": read("s3-secret")}


def read(name: str) -> str:
    return (SECRETS / name).read_text()


def keep(name: str, make: Callable[[], str], folder: Path | None = None) -> None:
    """Writes a file unless it is there. Containers that mount the volume run under several users."""
    path = (folder or SECRETS) / name
    if path.exists():
        return
    draft = path.with_suffix(".draft")
    draft.write_text(make())
    draft.chmod(0o444)
    draft.replace(path)


if __name__ == "__main__":
    main()
