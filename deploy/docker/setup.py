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
# Object store, models and the local backend's files: Airflow and the components read and write there.
FOLDERS = (Path("/s3"), Path("/s3/lake"), Path("/models"), Path("/var/lib/kfbridge"))
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
        "extra": {"endpoint_url": "http://s3:7070", "region_name": "us-east-1"},
    }
    return json.dumps({"kfbridge_default": bridge, "lake": store})


def read(name: str) -> str:
    return (SECRETS / name).read_text()


def keep(name: str, make: Callable[[], str]) -> None:
    """Writes a file unless it is there. Containers that mount the volume run under several users."""
    path = SECRETS / name
    if path.exists():
        return
    draft = path.with_suffix(".draft")
    draft.write_text(make())
    draft.chmod(0o444)
    draft.replace(path)


if __name__ == "__main__":
    main()
