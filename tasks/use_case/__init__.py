"""A use case as a whole: made, added to, labeled, removed; and a home backed up."""
