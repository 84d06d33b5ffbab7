"""The two clients that KFP publishes, behind one face: that of ``kfp.Client``, as far as the tests go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import kfp_server_api as api
import yaml


class ServerApi:
    """The generated ``kfp_server_api``, which is also what ``kfp.Client`` leaves out."""

    def __init__(self, url: str, existing_token: str | None = None) -> None:
        configuration = api.Configuration(host=url)
        if existing_token is not None:
            configuration.api_key["authorization"] = existing_token
            configuration.api_key_prefix["authorization"] = "Bearer"
        client = api.ApiClient(configuration)
        self.experiments = api.ExperimentServiceApi(client)
        self.pipelines = api.PipelineServiceApi(client)
        self.uploads = api.PipelineUploadServiceApi(client)
        self.runs = api.RunServiceApi(client)
        self.recurring = api.RecurringRunServiceApi(client)
        self.health = api.HealthzServiceApi(client)

    def get_kfp_healthz(self) -> Any:
        return self.health.healthz_service_get_healthz()

    def create_experiment(self, name: str, description: str | None = None) -> Any:
        return self.experiments.experiment_service_create_experiment(
            api.V2beta1Experiment(display_name=name, description=description)
        )

    def get_experiment(self, experiment_id: str) -> Any:
        return self.experiments.experiment_service_get_experiment(experiment_id)

    def list_experiments(self, **query: Any) -> Any:
        return self.experiments.experiment_service_list_experiments(**query)

    def archive_experiment(self, experiment_id: str) -> Any:
        return self.experiments.experiment_service_archive_experiment(experiment_id)

    def unarchive_experiment(self, experiment_id: str) -> Any:
        return self.experiments.experiment_service_unarchive_experiment(experiment_id)

    def delete_experiment(self, experiment_id: str) -> Any:
        return self.experiments.experiment_service_delete_experiment(experiment_id)

    def upload_pipeline(self, path: str, pipeline_name: str, description: str | None = None) -> Any:
        more = {} if description is None else {"description": description}
        return self.uploads.upload_pipeline(path, name=pipeline_name, **more)

    def upload_pipeline_version(
        self, path: str, name: str, pipeline_id: str, description: str | None = None
    ) -> Any:
        more = {} if description is None else {"description": description}
        return self.uploads.upload_pipeline_version(path, name=name, pipelineid=pipeline_id, **more)

    def get_pipeline(self, pipeline_id: str) -> Any:
        return self.pipelines.pipeline_service_get_pipeline(pipeline_id)

    def list_pipelines(self, **query: Any) -> Any:
        return self.pipelines.pipeline_service_list_pipelines(**query)

    def delete_pipeline(self, pipeline_id: str) -> Any:
        return self.pipelines.pipeline_service_delete_pipeline(pipeline_id)

    def list_pipeline_versions(self, pipeline_id: str, **query: Any) -> Any:
        return self.pipelines.pipeline_service_list_pipeline_versions(pipeline_id, **query)

    def get_pipeline_version(self, pipeline_id: str, version_id: str) -> Any:
        return self.pipelines.pipeline_service_get_pipeline_version(pipeline_id, version_id)

    def delete_pipeline_version(self, pipeline_id: str, version_id: str) -> Any:
        return self.pipelines.pipeline_service_delete_pipeline_version(pipeline_id, version_id)

    def run_pipeline(
        self,
        experiment_id: str | None,
        job_name: str,
        *,
        pipeline_package_path: str | None = None,
        pipeline_id: str | None = None,
        version_id: str | None = None,
        params: dict[str, Any] | None = None,
    ) -> Any:
        run = api.V2beta1Run(
            display_name=job_name,
            experiment_id=experiment_id,
            runtime_config=api.V2beta1RuntimeConfig(parameters=params or {}),
            **_source(pipeline_package_path, pipeline_id, version_id),
        )
        return self.runs.run_service_create_run(run)

    def get_run(self, run_id: str) -> Any:
        return self.runs.run_service_get_run(run_id)

    def list_runs(self, **query: Any) -> Any:
        return self.runs.run_service_list_runs(**query)

    def terminate_run(self, run_id: str) -> Any:
        return self.runs.run_service_terminate_run(run_id)

    def archive_run(self, run_id: str) -> Any:
        return self.runs.run_service_archive_run(run_id)

    def unarchive_run(self, run_id: str) -> Any:
        return self.runs.run_service_unarchive_run(run_id)

    def delete_run(self, run_id: str) -> Any:
        return self.runs.run_service_delete_run(run_id)

    def wait_for_run_completion(self, run_id: str, timeout: float, sleep_duration: float) -> Any:
        deadline = time.monotonic() + timeout
        while (run := self.get_run(run_id)).state in ("PENDING", "RUNNING"):
            assert time.monotonic() < deadline, f"the run is still {run.state}"
            time.sleep(sleep_duration)
        return run

    def create_recurring_run(
        self,
        experiment_id: str,
        job_name: str,
        *,
        cron_expression: str | None = None,
        interval_second: int | None = None,
        params: dict[str, Any] | None = None,
        pipeline_package_path: str | None = None,
        pipeline_id: str | None = None,
        version_id: str | None = None,
        max_concurrency: int = 1,
        no_catchup: bool = False,
        enabled: bool = True,
    ) -> Any:
        cron = cron_expression and api.V2beta1CronSchedule(cron=cron_expression)
        interval = interval_second and api.V2beta1PeriodicSchedule(interval_second=interval_second)
        return self.recurring.recurring_run_service_create_recurring_run(
            api.V2beta1RecurringRun(
                display_name=job_name,
                experiment_id=experiment_id,
                trigger=api.V2beta1Trigger(cron_schedule=cron or None, periodic_schedule=interval or None),
                runtime_config=api.V2beta1RuntimeConfig(parameters=params or {}),
                max_concurrency=max_concurrency,
                no_catchup=no_catchup,
                mode="ENABLE" if enabled else "DISABLE",
                **_source(pipeline_package_path, pipeline_id, version_id),
            )
        )

    def get_recurring_run(self, recurring_run_id: str) -> Any:
        return self.recurring.recurring_run_service_get_recurring_run(recurring_run_id)

    def list_recurring_runs(self, **query: Any) -> Any:
        return self.recurring.recurring_run_service_list_recurring_runs(**query)

    def enable_recurring_run(self, recurring_run_id: str) -> Any:
        return self.recurring.recurring_run_service_enable_recurring_run(recurring_run_id)

    def disable_recurring_run(self, recurring_run_id: str) -> Any:
        return self.recurring.recurring_run_service_disable_recurring_run(recurring_run_id)

    def delete_recurring_run(self, recurring_run_id: str) -> Any:
        return self.recurring.recurring_run_service_delete_recurring_run(recurring_run_id)


class Client:
    """``kfp.Client`` itself; ``rest`` is the generated client for what it leaves out."""

    def __init__(self, url: str, existing_token: str | None = None) -> None:
        import kfp

        more = {} if existing_token is None else {"existing_token": existing_token}
        self._client = kfp.Client(host=url, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def upload_pipeline_version(self, path: str, name: str, pipeline_id: str, **more: Any) -> Any:
        return self._client.upload_pipeline_version(path, name, pipeline_id=pipeline_id, **more)

    def get_experiment(self, experiment_id: str) -> Any:
        return self._client.get_experiment(experiment_id=experiment_id)


def _source(path: str | None, pipeline_id: str | None, version_id: str | None) -> dict[str, Any]:
    if path is not None:
        return {"pipeline_spec": yaml.safe_load(Path(path).read_text())}
    return {
        "pipeline_version_reference": api.V2beta1PipelineVersionReference(
            pipeline_id=pipeline_id, pipeline_version_id=version_id
        )
    }
