"""The route table: all that is answered, where, to whom, and by which function; the OpenAPI document is made of it.

Kling's paths stand here once, under `/kling/v1`; they answer under `/v1` and `/proxy/kling/v1` too (`table.py`).
"""

from functools import partial

from kling_relay.core.key import Scope
from kling_relay.core.operation import Operation
from kling_relay.web.api import (
    callbacks,
    deliveries,
    events,
    health,
    hook_secret,
    kling,
    money,
    overview,
    subscriptions,
    tasks,
)
from kling_relay.web.http.body import Size
from kling_relay.web.http.request import Family, Route
from kling_relay.web.models import fields, responses
from kling_relay.web.models import overview as figures

_ORDER = (1102, 1103, 1200, 1201, 1204, 1205, 5001, 5003)


def _kling() -> list[Route]:
    routes = []
    for operation in Operation:
        name = operation.value.replace("/", "_")
        path = f"/kling/v1/{operation.value}"
        routes += [
            Route(
                name=f"order_{name}",
                method="POST",
                path=path,
                act=partial(kling.order, operation=operation),
                summary=f"Order at {operation.value}",
                scope=Scope.SUBMIT,
                family=Family.KLING,
                answer=responses.KlingAnswer,
                size=Size.ORDER,
                refusals=_ORDER,
            ),
            Route(
                name=f"list_{name}",
                method="GET",
                path=path,
                act=partial(kling.numbered, operation=operation),
                summary=f"A page of the tasks ordered at {operation.value}",
                family=Family.KLING,
                answer=responses.KlingPage,
                refusals=(1201,),
            ),
            Route(
                name=f"show_{name}",
                method="GET",
                path=path + "/{task}",
                act=kling.show,
                summary="One task, by task_id or external_task_id",
                family=Family.KLING,
                answer=responses.KlingAnswer,
                refusals=(1203,),
            ),
        ]
    return routes


_TASKS = [
    Route(
        name="list_tasks",
        method="GET",
        path="/v1/tasks",
        act=tasks.index,
        summary="Tasks, newest first",
        query=fields.TasksAsked,
        answer=responses.TaskPage,
    ),
    Route(
        name="show_task",
        method="GET",
        path="/v1/tasks/{task}",
        act=tasks.show,
        summary="One task; with ?wait= as soon as it is final",
        query=fields.TaskAsked,
        answer=responses.TaskDetail,
        refusals=(1203,),
    ),
    Route(
        name="list_task_events",
        method="GET",
        path="/v1/tasks/{task}/events",
        act=tasks.events,
        summary="A task's history",
        query=fields.Nothing,
        answer=responses.EventPage,
        refusals=(1203,),
    ),
    Route(
        name="list_task_callbacks",
        method="GET",
        path="/v1/tasks/{task}/callbacks",
        act=tasks.callbacks,
        summary="What the provider said of a task, as it came",
        query=fields.Nothing,
        answer=responses.CallbackPage,
        refusals=(1203,),
    ),
]
_ONE = "/v1/subscriptions/{subscription}"
_SUBSCRIPTIONS = [
    Route(
        name="create_subscription",
        method="POST",
        path="/v1/subscriptions",
        act=subscriptions.create,
        summary="Subscribe; the answer holds the secret, this once",
        scope=Scope.ADMIN,
        body=fields.SubscriptionAsked,
        answer=responses.SubscriptionWithSecret,
        status=201,
        refusals=(1204,),
    ),
    Route(
        name="list_subscriptions",
        method="GET",
        path="/v1/subscriptions",
        act=subscriptions.index,
        summary="Subscriptions, newest first",
        query=fields.Paged,
        answer=responses.SubscriptionPage,
    ),
    Route(
        name="show_subscription",
        method="GET",
        path=_ONE,
        act=subscriptions.show,
        summary="One subscription",
        query=fields.Nothing,
        answer=responses.Subscription,
        refusals=(1203,),
    ),
    Route(
        name="change_subscription",
        method="PATCH",
        path=_ONE,
        act=subscriptions.change,
        summary="Change a subscription",
        scope=Scope.ADMIN,
        body=fields.SubscriptionChange,
        answer=responses.Subscription,
        refusals=(1203,),
    ),
    Route(
        name="delete_subscription",
        method="DELETE",
        path=_ONE,
        act=subscriptions.delete,
        summary="Delete a subscription and its pending deliveries",
        scope=Scope.ADMIN,
        query=fields.Nothing,
        status=204,
        refusals=(1203,),
    ),
    Route(
        name="rotate_secret",
        method="POST",
        path=_ONE + "/rotate-secret",
        act=subscriptions.rotate,
        summary="A new secret; the old one signs too for a while",
        scope=Scope.ADMIN,
        body=fields.RotationAsked,
        answer=responses.Secret,
        refusals=(1203, 1204),
    ),
    Route(
        name="pause_subscription",
        method="POST",
        path=_ONE + "/pause",
        act=subscriptions.pause,
        summary="Let deliveries gather",
        scope=Scope.ADMIN,
        body=fields.Nothing,
        answer=responses.Subscription,
        refusals=(1203,),
    ),
    Route(
        name="resume_subscription",
        method="POST",
        path=_ONE + "/resume",
        act=subscriptions.resume,
        summary="Deliver again, also after it was disabled",
        scope=Scope.ADMIN,
        body=fields.Nothing,
        answer=responses.Subscription,
        refusals=(1203,),
    ),
]
_AGAIN = [
    Route(
        name="test_subscription",
        method="POST",
        path=_ONE + "/test",
        act=deliveries.test,
        summary="Send subscription.test to this subscription alone",
        scope=Scope.ADMIN,
        body=fields.Nothing,
        answer=responses.Tested,
        status=202,
        refusals=(1203, 1204),
    ),
    Route(
        name="replay_subscription",
        method="POST",
        path=_ONE + "/replay",
        act=deliveries.replay,
        summary="Deliver a time's events again: what failed, or all",
        scope=Scope.ADMIN,
        body=fields.ReplayAsked,
        answer=responses.Count,
        status=202,
        refusals=(1203,),
    ),
    Route(
        name="list_deliveries",
        method="GET",
        path="/v1/deliveries",
        act=deliveries.index,
        summary="Deliveries, newest task first",
        query=fields.DeliveriesAsked,
        answer=responses.DeliveryPage,
    ),
    Route(
        name="retry_deliveries",
        method="POST",
        path="/v1/deliveries/retry",
        act=deliveries.retry_found,
        summary="Deliver now all that a filter finds, the exhausted where it names no status",
        scope=Scope.ADMIN,
        body=fields.RetryAsked,
        answer=responses.Count,
        status=202,
    ),
    Route(
        name="show_delivery",
        method="GET",
        path="/v1/deliveries/{delivery}",
        act=deliveries.show,
        summary="One delivery with its attempts",
        query=fields.Nothing,
        answer=responses.DeliveryDetail,
        refusals=(1203,),
    ),
    Route(
        name="retry_delivery",
        method="POST",
        path="/v1/deliveries/{delivery}/retry",
        act=deliveries.retry,
        summary="Deliver now, whatever became of it",
        scope=Scope.ADMIN,
        body=fields.Nothing,
        answer=responses.Delivery,
        status=202,
        refusals=(1203,),
    ),
    Route(
        name="show_hook_secret",
        method="GET",
        path="/v1/hook-secret",
        act=hook_secret.show,
        summary="The secret that signs what goes to notify_hook",
        scope=Scope.ADMIN,
        query=fields.Nothing,
        answer=responses.HookSecret,
    ),
    Route(
        name="rotate_hook_secret",
        method="POST",
        path="/v1/hook-secret/rotate",
        act=hook_secret.rotate,
        summary="A new secret for notify_hook; the old one signs nothing more",
        scope=Scope.ADMIN,
        body=fields.Nothing,
        answer=responses.HookSecret,
    ),
]
_LOG = [
    Route(
        name="list_events",
        method="GET",
        path="/v1/events",
        act=events.index,
        summary="The log of events by cursor, oldest first",
        query=fields.EventsAsked,
        answer=responses.EventPage,
    ),
    Route(
        name="stream_events",
        method="GET",
        path="/v1/events/stream",
        act=events.stream,
        summary="The log as Server-Sent Events, resumed by Last-Event-ID",
        query=fields.StreamAsked,
        media="text/event-stream",
        refusals=(1302, 5001),
    ),
]
_MONEY = [
    Route(
        name="show_rulebook",
        method="GET",
        path="/v1/rulebook",
        act=money.rules,
        summary="The rule book that orders are checked by",
        query=fields.Nothing,
        answer=responses.Free,
    ),
    Route(
        name="show_prices",
        method="GET",
        path="/v1/prices",
        act=money.prices,
        summary="The price list that orders are priced by",
        query=fields.Nothing,
        answer=responses.Free,
    ),
    Route(
        name="quote",
        method="POST",
        path="/v1/quotes",
        act=money.quote,
        summary="The price of an order, without ordering; the body is the order with an `operation` or a `kind`",
        answer=responses.QuoteShown,
        size=Size.ORDER,
        refusals=(1200, 1201, 1205),
    ),
    Route(
        name="show_usage",
        method="GET",
        path="/v1/usage",
        act=money.used,
        summary="What was ordered and charged; as CSV with ?format=csv or Accept: text/csv",
        query=fields.UsageAsked,
        answer=responses.Usage,
        text="text/csv",
    ),
    Route(
        name="show_budget",
        method="GET",
        path="/v1/budget",
        act=money.budget,
        summary="What this client and this key may spend, have spent, and have left",
        query=fields.Nothing,
        answer=responses.Budgets,
    ),
]
_OVERVIEW = [
    Route(
        name="show_overview",
        method="GET",
        path="/v1/overview",
        act=overview.show,
        summary="Rates, latencies and pending work over the last hour or day",
        query=figures.OverviewAsked,
        answer=figures.Overview,
    ),
]
_OPEN = [
    Route(
        name="callback",
        method="POST",
        path="/callbacks/{task}/{token}",
        act=callbacks.callback,
        summary="The provider's door",
        scope=None,
        answer=responses.Acknowledged,
        size=Size.CALLBACK,
        refusals=(1203, 1205, 5001),
    ),
    Route(
        name="livez",
        method="GET",
        path="/livez",
        act=health.live,
        summary="Whether the process lives",
        scope=None,
        answer=responses.Health,
    ),
    Route(
        name="readyz",
        method="GET",
        path="/readyz",
        act=health.ready,
        summary="Whether it should be sent requests",
        scope=None,
        answer=responses.Health,
        refusals=(5001,),
    ),
]

ROUTES: tuple[Route, ...] = (*_kling(), *_TASKS, *_SUBSCRIPTIONS, *_AGAIN, *_LOG, *_MONEY, *_OVERVIEW, *_OPEN)
