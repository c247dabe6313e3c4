"""What stands between a home and a good night: ``flywheel doctor``, ``status`` and ``list``."""
