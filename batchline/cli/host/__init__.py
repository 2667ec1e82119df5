"""The commands about this host: up, serve, gateway, dispatcher, deliver, doctor, backup, fsck, docs."""
