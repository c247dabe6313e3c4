"""What nights and other commands wait for: locks, work pools, their order."""
