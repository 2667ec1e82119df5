"""The handlers that batchline brings. Each is loaded only where the operator sets it up."""
