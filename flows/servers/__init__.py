"""The servers beside a home: Prefect's, MLflow's, and MLflow's of one model."""
