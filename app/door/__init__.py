"""Who may come in: what the operator says, the login, the gate that every request passes, the headers of every answer."""
