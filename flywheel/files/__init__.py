"""Files of a home: private, written whole or not at all, read back with clear errors."""
