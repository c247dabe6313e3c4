"""From a person's own file to a use case: ``flywheel init``."""
