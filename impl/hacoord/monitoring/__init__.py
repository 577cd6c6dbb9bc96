"""What people and programs see of a cluster: metrics, health, log lines, `show frontends`, traces in words."""
