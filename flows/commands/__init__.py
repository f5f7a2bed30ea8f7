"""What people type, one file a group of commands."""
