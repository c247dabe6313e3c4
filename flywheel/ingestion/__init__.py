"""From files to feedback records: readers, tables, the inbox, the labeling queue."""
