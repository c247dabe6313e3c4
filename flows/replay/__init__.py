"""Live the nights of a replay: by the flow of every night, called without Prefect."""
