"""All routes of the service. Each file in `web/api` has its own; the OpenAPI document is made from these."""

from kling_relay.core.rulebook import Rulebook
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

OWN_ROUTES: tuple[AnyRoute, ...] = (
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
"""The routes that do not depend on the rule book."""


def routes(rulebook: Rulebook) -> tuple[AnyRoute, ...]:
    """Return every route: those of the rule book's operations, and our own."""
    return (*kling.routes(rulebook), *OWN_ROUTES)
