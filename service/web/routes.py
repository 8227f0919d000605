"""The route table: all that is answered, where, to whom, and by which function; the OpenAPI document is made of it.

Kling's paths stand here once, under `/kling/v1`; they answer under `/v1` and `/proxy/kling/v1` too (`table.py`).
"""

from functools import partial

from service.core.key import Scope
from service.core.kind import Door
from service.web import callbacks, deliveries, events, health, hooks, kling, money, subscriptions, tasks, wire
from service.web.call import Family, Route, Size

_ORDER = (1102, 1103, 1200, 1201, 1204, 1205, 5001, 5003, 5004)


def _kling() -> list[Route]:
    routes = []
    for door in Door:
        name = door.value.replace("/", "_")
        path = f"/kling/v1/{door.value}"
        routes += [
            Route(
                name=f"order_{name}",
                method="POST",
                path=path,
                act=partial(kling.order, door=door),
                summary=f"Order at {door.value}",
                scope=Scope.SUBMIT,
                family=Family.KLING,
                answer=wire.KlingAnswer,
                size=Size.ORDER,
                refusals=_ORDER,
            ),
            Route(
                name=f"list_{name}",
                method="GET",
                path=path,
                act=partial(kling.numbered, door=door),
                summary=f"A page of the tasks ordered at {door.value}",
                family=Family.KLING,
                answer=wire.KlingPage,
                refusals=(1201,),
            ),
            Route(
                name=f"show_{name}",
                method="GET",
                path=path + "/{task}",
                act=kling.show,
                summary="One task, by task_id or external_task_id",
                family=Family.KLING,
                answer=wire.KlingAnswer,
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
        query=wire.TasksAsked,
        answer=wire.TaskPage,
    ),
    Route(
        name="show_task",
        method="GET",
        path="/v1/tasks/{task}",
        act=tasks.show,
        summary="One task; with ?wait= as soon as it is final",
        query=wire.TaskAsked,
        answer=wire.TaskDetail,
        refusals=(1203,),
    ),
    Route(
        name="list_task_events",
        method="GET",
        path="/v1/tasks/{task}/events",
        act=tasks.events,
        summary="A task's history",
        query=wire.Nothing,
        answer=wire.EventPage,
        refusals=(1203,),
    ),
    Route(
        name="list_task_callbacks",
        method="GET",
        path="/v1/tasks/{task}/callbacks",
        act=tasks.callbacks,
        summary="What the provider said of a task, as it came",
        query=wire.Nothing,
        answer=wire.CallbackPage,
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
        body=wire.SubscriptionAsked,
        answer=wire.SubscriptionWithSecret,
        status=201,
        refusals=(1204,),
    ),
    Route(
        name="list_subscriptions",
        method="GET",
        path="/v1/subscriptions",
        act=subscriptions.index,
        summary="Subscriptions, newest first",
        query=wire.Paged,
        answer=wire.SubscriptionPage,
    ),
    Route(
        name="show_subscription",
        method="GET",
        path=_ONE,
        act=subscriptions.show,
        summary="One subscription",
        query=wire.Nothing,
        answer=wire.Subscription,
        refusals=(1203,),
    ),
    Route(
        name="change_subscription",
        method="PATCH",
        path=_ONE,
        act=subscriptions.change,
        summary="Change a subscription",
        scope=Scope.ADMIN,
        body=wire.SubscriptionChange,
        answer=wire.Subscription,
        refusals=(1203,),
    ),
    Route(
        name="delete_subscription",
        method="DELETE",
        path=_ONE,
        act=subscriptions.delete,
        summary="Delete a subscription and what is outstanding for it",
        scope=Scope.ADMIN,
        query=wire.Nothing,
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
        body=wire.RotationAsked,
        answer=wire.Secret,
        refusals=(1203, 1204),
    ),
    Route(
        name="pause_subscription",
        method="POST",
        path=_ONE + "/pause",
        act=subscriptions.pause,
        summary="Let deliveries gather",
        scope=Scope.ADMIN,
        body=wire.Nothing,
        answer=wire.Subscription,
        refusals=(1203,),
    ),
    Route(
        name="resume_subscription",
        method="POST",
        path=_ONE + "/resume",
        act=subscriptions.resume,
        summary="Deliver again, also after it was disabled",
        scope=Scope.ADMIN,
        body=wire.Nothing,
        answer=wire.Subscription,
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
        body=wire.Nothing,
        answer=wire.Tested,
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
        body=wire.ReplayAsked,
        answer=wire.Count,
        status=202,
        refusals=(1203,),
    ),
    Route(
        name="list_deliveries",
        method="GET",
        path="/v1/deliveries",
        act=deliveries.index,
        summary="Deliveries, newest task first",
        query=wire.DeliveriesAsked,
        answer=wire.DeliveryPage,
    ),
    Route(
        name="show_delivery",
        method="GET",
        path="/v1/deliveries/{delivery}",
        act=deliveries.show,
        summary="One delivery with its attempts",
        query=wire.Nothing,
        answer=wire.DeliveryDetail,
        refusals=(1203,),
    ),
    Route(
        name="retry_delivery",
        method="POST",
        path="/v1/deliveries/{delivery}/retry",
        act=deliveries.retry,
        summary="Deliver now, whatever became of it",
        scope=Scope.ADMIN,
        body=wire.Nothing,
        answer=wire.Delivery,
        status=202,
        refusals=(1203,),
    ),
    Route(
        name="show_hook_secret",
        method="GET",
        path="/v1/hook-secret",
        act=hooks.show,
        summary="The secret that signs what goes to notify_hook",
        scope=Scope.ADMIN,
        query=wire.Nothing,
        answer=wire.HookSecret,
    ),
    Route(
        name="rotate_hook_secret",
        method="POST",
        path="/v1/hook-secret/rotate",
        act=hooks.rotate,
        summary="A new secret for notify_hook; the old one signs nothing more",
        scope=Scope.ADMIN,
        body=wire.Nothing,
        answer=wire.HookSecret,
    ),
]
_LOG = [
    Route(
        name="list_events",
        method="GET",
        path="/v1/events",
        act=events.index,
        summary="The log of events by cursor, oldest first",
        query=wire.EventsAsked,
        answer=wire.EventPage,
    ),
    Route(
        name="stream_events",
        method="GET",
        path="/v1/events/stream",
        act=events.stream,
        summary="The log as Server-Sent Events, resumed by Last-Event-ID",
        query=wire.StreamAsked,
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
        query=wire.Nothing,
        answer=wire.Free,
    ),
    Route(
        name="show_prices",
        method="GET",
        path="/v1/prices",
        act=money.prices,
        summary="The price list that orders are priced by",
        query=wire.Nothing,
        answer=wire.Free,
    ),
    Route(
        name="quote",
        method="POST",
        path="/v1/quotes",
        act=money.quote,
        summary="The price of an order, without ordering; the body is the order with its door",
        answer=wire.QuoteShown,
        size=Size.ORDER,
        refusals=(1200, 1201, 1205),
    ),
    Route(
        name="show_usage",
        method="GET",
        path="/v1/usage",
        act=money.used,
        summary="What was ordered and charged",
        query=wire.UsageAsked,
        answer=wire.Usage,
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
        answer=wire.Acknowledged,
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
        answer=wire.Health,
    ),
    Route(
        name="readyz",
        method="GET",
        path="/readyz",
        act=health.ready,
        summary="Whether it should be sent requests",
        scope=None,
        answer=wire.Health,
        refusals=(5001,),
    ),
]

ROUTES: tuple[Route, ...] = (*_kling(), *_TASKS, *_SUBSCRIPTIONS, *_AGAIN, *_LOG, *_MONEY, *_OPEN)
