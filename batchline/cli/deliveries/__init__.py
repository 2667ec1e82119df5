"""The commands about deliveries and handlers: deliveries, redeliver, handlers; doctor's check of these."""
