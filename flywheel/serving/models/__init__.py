"""The model side of the service: versions, adapters, batches, and which one answers."""
