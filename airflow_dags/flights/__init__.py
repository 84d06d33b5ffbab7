"""What the flight DAGs share: source, transformation, checks and storage; DAG files hold wiring only.

Imported as ``flights``, since Airflow puts the DAG folder, and not its parent, on ``sys.path``.
"""
