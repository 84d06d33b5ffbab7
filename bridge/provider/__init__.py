"""The Airflow provider: operator, trigger, hook, links, notifier. Needs Airflow 3.3 and the base install."""
