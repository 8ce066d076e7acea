"""The dashboard of cflows: `cflows_app.main.serve` starts it, and so does the command `cflows app`."""
