"""A home as a whole: the environment of its processes, its archive, its backups."""
