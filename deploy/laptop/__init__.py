"""The whole bridge on one machine: local backend, service and a real Airflow, for the demo and the tests."""
