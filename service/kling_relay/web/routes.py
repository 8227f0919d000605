"""All routes of the service. Each file in `web/api` has its own; the OpenAPI document is made from these."""

from kling_relay.web.api import (
    callbacks,
    deliveries,
    events,
    health,
    kling,
    overview,
    pricing,
    redelivery,
    secrets,
    subscriptions,
    tasks,
)
from kling_relay.web.http.routing import AnyRoute

ROUTES: tuple[AnyRoute, ...] = (
    *kling.ROUTES,
    *tasks.ROUTES,
    *subscriptions.ROUTES,
    *secrets.ROUTES,
    *redelivery.ROUTES,
    *deliveries.ROUTES,
    *events.ROUTES,
    *pricing.ROUTES,
    *overview.ROUTES,
    *callbacks.ROUTES,
    *health.ROUTES,
)
