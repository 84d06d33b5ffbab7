"""What Airflow's provider manager reads. Imports nothing: it is loaded by every Airflow process."""

from __future__ import annotations

from typing import Any

PACKAGE_NAME = "airflow-kfp-bridge"
INTEGRATION = "Kubeflow Pipelines (bridge)"


def get_provider_info() -> dict[str, Any]:
    """The provider's description as Airflow's ``provider_info.schema.json`` wants it."""
    return {
        "package-name": PACKAGE_NAME,
        "name": INTEGRATION,
        "description": "Kubeflow pipelines through the bridge: submitted once, followed to their end.",
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://www.kubeflow.org/docs/components/pipelines/",
                "tags": ["service"],
            }
        ],
        "operators": [
            {
                "integration-name": INTEGRATION,
                "python-modules": ["bridge.provider.operators", "bridge.provider.taskgroup_operators"],
            },
        ],
        "sensors": [
            {"integration-name": INTEGRATION, "python-modules": ["bridge.provider.sensors"]},
        ],
        "hooks": [
            {"integration-name": INTEGRATION, "python-modules": ["bridge.provider.hooks"]},
        ],
        "triggers": [
            {
                "integration-name": INTEGRATION,
                "python-modules": [
                    "bridge.provider.triggers",
                    "bridge.provider.taskgroup_trigger",
                    "bridge.provider.sensing",
                    "bridge.provider.events",
                ],
            },
        ],
        "task-decorators": [
            {
                "name": "kubeflow_pipeline",
                # The schema says "path"; what Airflow 3.3 reads is this.
                "class-name": "bridge.provider.decorators.kubeflow_pipeline_task",
            },
        ],
        # Airflow loads a plugin by its entry point; this tells of it.
        "plugins": [{"name": "kfbridge", "plugin-class": "bridge.provider.plugin.KubeflowBridgePlugin"}],
        "connection-types": [_connection_type()],
        "extra-links": [
            "bridge.provider.links.BridgeRunLink",
            "bridge.provider.links.KfpRunLink",
        ],
        "notifications": ["bridge.provider.notifiers.BridgeRunNotifier"],
        "config": {
            "kfbridge": {
                "description": "The Kubeflow Pipelines bridge.",
                "options": {
                    "public_url": {
                        "description": "The bridge's address as browsers reach it, for the tab Kubeflow run. "
                        "Without it there is no tab.",
                        "version_added": None,
                        "type": "string",
                        "example": "https://bridge.example",
                        "default": None,
                    }
                },
            }
        },
    }


def _connection_type() -> dict[str, Any]:
    def text(label: str, description: str) -> dict[str, Any]:
        return {"label": label, "schema": {"type": ["string", "null"]}, "description": description}

    return {
        "connection-type": "kfbridge",
        "hook-class-name": "bridge.provider.hooks.KubeflowBridgeHook",
        "hook-name": "Kubeflow Bridge",
        "ui-field-behaviour": {
            "hidden-fields": ["login", "schema", "port"],
            "relabeling": {"host": "URL", "password": "Token"},
            "placeholders": {
                "host": "http://127.0.0.1:8700",
                "password": "the bridge's API token, if it wants one",
            },
        },
        "conn-fields": {
            "project": text("Project", "Project of submissions that name none; 'default' if empty."),
            "backend": text(
                "Backend", "Backend of submissions that name none; the bridge's own choice if empty."
            ),
            "deployment": text(
                "Deployment", "Name of this Airflow, where several share one bridge. Part of every run's key."
            ),
            "verify": text(
                "TLS verification",
                "Path of a CA bundle, or 'false' to accept any certificate; 'true' if empty.",
            ),
        },
    }
