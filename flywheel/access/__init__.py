"""The passwords of a home's servers: who may give orders to Prefect and MLflow."""
