"""How the server is operated: logs, metrics, health, and how it stops."""
