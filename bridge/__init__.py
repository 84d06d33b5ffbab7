"""The bridge between Apache Airflow and Kubeflow Pipelines. Importing this imports nothing else."""
