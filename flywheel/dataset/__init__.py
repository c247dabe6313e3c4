"""What is learned from: snapshots, their splits, pictures, and draws of rows."""
