"""Which version is champion: promoted, approved, rolled back, measured anew."""
