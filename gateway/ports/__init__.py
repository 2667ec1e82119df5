"""The ports of the gateway: that of the API and the dashboard, and that of metrics alone."""
