"""What survives a process: the data directory and its database, backups, and what can be made of what is left."""
