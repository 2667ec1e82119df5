"""How settings are read and checked: names, types, keys, addresses, exposure. `settings.py` has them all."""
