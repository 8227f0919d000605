"""Deliveries of events to subscriptions: fanned out, read when due, settled, listed and made again."""
