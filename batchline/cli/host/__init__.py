"""The commands about this host: up, serve, gateway, dispatcher, doctor, backup, fsck, docs."""
