"""Every setting, in groups. The environment variable is RELAY_ and the field's name in capitals.

The text under a field documents it: here, in `kling-relay settings` and in docs/settings.md.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kling_relay.settings.units import (
    Address,
    Count,
    CountOrOff,
    Duration,
    DurationOrNone,
    Durations,
    Networks,
    Port,
    PortRanges,
    Postgres,
    ProviderKey,
    ProxyAddress,
    SigningKeys,
    Size,
    Token,
    Unset,
    WebhookSecret,
    Words,
    read_duration,
    read_ports,
)


class SettingsGroup(BaseModel):
    """The base of all groups. The text under each field is its documentation."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ListenSettings(SettingsGroup):
    """Listening"""

    host: str = "127.0.0.1"
    """The interface to listen on; `0.0.0.0` or `::` for all."""
    port: Port = 8080
    """The port of the API, the callbacks and the console. 0 picks a free port and prints it."""
    public_url: Annotated[Address | None, Unset("http://HOST:PORT")] = None
    """The address of this service for the provider, which sends callbacks to `/callbacks/…` below it."""
    metrics_port: Port = 9464
    """The port of `/metrics`, separate so that it can stay private. 0 picks a free port."""
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    """The number of processes of `api` or `up` that share the port."""
    share_port: bool = False
    """Whether the port may be shared with any process that listens there. Those with the same database always share."""
    shutdown_delay: DurationOrNone = read_duration("0")
    """How long `/readyz` answers 503 before the service stops listening, so that load balancers move on first."""
    shutdown_grace: Duration = read_duration("25s")
    """How long running requests and attempts may take to finish after that."""


class StorageSettings(SettingsGroup):
    """Storage"""

    database_url: Annotated[Postgres | None, Unset("an embedded PostgreSQL under RELAY_DATA_DIR")] = None
    """PostgreSQL 14 or newer, as `postgresql://user:password@host:port/name`."""
    database_pooler: bool = False
    """Whether connections go through PgBouncer in transaction mode; it allows no named statements."""
    data_dir: Path = Path(".relay")
    """The directory of the embedded PostgreSQL and of the keys that are made with it."""
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    """Database connections of each process for look-ups and rare writes. Batches have six more."""
    report_connections: Annotated[int, Field(ge=1, le=100)] = 3
    """Database connections of each process for reports, lists and searches. A key uses one of them at a time, and a
    client leaves one to others."""
    report_timeout: Duration = read_duration("10s")
    """How long a report, a list or a search may take. After that it is stopped and answered 400."""
    record_timeout: Duration = read_duration("5s")
    """How long an order or a callback waits for the database. After that it is answered 503."""
    retention: Duration = read_duration("90d")
    """How long finished tasks, their events and attempts are stored, and how long an Idempotency-Key is valid."""
    signing_keys: Annotated[
        SigningKeys | None, Unset("with the embedded database: made once, in a file under RELAY_DATA_DIR")
    ] = None
    """Keys that sign callback tokens and encrypt stored secrets, newest first. Required with RELAY_DATABASE_URL. Keep
    an old key after the new one until every task made with it is final."""
    bootstrap_key: Annotated[Token | None, Unset("none")] = None
    """A client key with all scopes that exists from the first start, for tests and automated installations."""
    secrets_dir: Annotated[Path | None, Unset("none")] = None
    """A directory of files that are named like settings and hold one value each. The environment overrides files."""


class ProviderSettings(SettingsGroup):
    """Provider"""

    provider_url: Annotated[Address | None, Unset("the sandbox, in process")] = None
    """The gateway or Kling itself, e.g. https://api.openai-hk.com. Required if `api` and `worker` run separately."""
    provider_key: Annotated[ProviderKey | None, Unset("none")] = None
    """The provider's key. The dialect `kling` also accepts ACCESS_KEY:SECRET_KEY, which sign tokens."""
    provider_dialect: Literal["gateway", "kling"] = "gateway"
    """The provider's API. `gateway`: paths below /kling, with notify_hook. `kling`: no prefix, with callback_url and
    external_task_id."""
    provider_hook_fields: Annotated[Words, Unset("the dialect's own")] = ()
    """Names of the members that carry our callback URL, for gateways that drop the usual one."""
    provider_proxy: Annotated[ProxyAddress | None, Unset("none")] = None
    """An HTTP proxy for calls to the provider, e.g. http://proxy.example:3128. `env` takes HTTPS_PROXY, HTTP_PROXY and
    NO_PROXY. Deliveries never use a proxy."""
    provider_webhook_secret: Annotated[WebhookSecret | None, Unset("none")] = None
    """A secret `whsec_…`. If it is set, callbacks must carry a valid Standard Webhooks signature."""
    provider_slots: Annotated[Count | None, Unset("unlimited")] = None
    """Tasks that may be in flight at the provider at once. A video counts as one, an image order as its images."""
    provider_timeout: Duration = read_duration("30s")
    """How long a request to the provider may take. A submission that takes longer becomes *unknown*."""
    rulebook: str = "seed"
    """The rule book (limits and models) that orders are checked against: `seed`, `kling-2026`, or a file."""
    prices: str = "seed"
    """The price list: `seed`, `kling-2026`, or a file."""
    sweep_after: Duration = read_duration("60s")
    """How long a task may be silent before the provider is polled."""
    task_deadline: Duration = read_duration("6h")
    """The age at which a task expires. A success that arrives later still counts."""
    confirm_callbacks: bool = False
    """Whether a final status in an unsigned callback is confirmed by polling the provider."""
    sandbox_profile: Annotated[str, Unset("well-behaved")] = ""
    """Options of the in-process sandbox, as `option=value` separated by spaces, e.g. `loss=0.3 doubling=0.3`."""


class LimitSettings(SettingsGroup):
    """Limits on requests"""

    order_body_limit: Size = 32 * 2**20
    """The largest body of an order. Two images of 10 MB in Base64 fit."""
    body_memory: Size = 272 * 2**20
    """The bodies that one process holds at once, each from its first byte until its order is sent. Further ones are
    answered 503 with Retry-After. Copies take up to twice RELAY_ORDER_BODY_LIMIT more, small bodies 16 MiB more."""
    callback_body_limit: Size = 2**20
    """The largest body of a callback."""
    header_limit: Size = 16 * 2**10
    """The longest request line or header. A request may have 128 headers, and four times this, but at least 64KiB."""
    json_depth: Annotated[int, Field(ge=4, le=500)] = 32
    """How deep JSON may be nested."""
    body_timeout: Duration = read_duration("60s")
    """How long a client may take to send a body."""
    idle_timeout: Duration = read_duration("75s")
    """How long a connection may be idle between requests."""
    unread_timeout: Duration = read_duration("15s")
    """How long a client may leave a response unread. Then its connection is cut; 4 KiB in that time are enough."""
    ingest_queue: Count = 2_000
    """Callbacks of one process that may wait for the database. Further ones are answered 503 with Retry-After."""
    waiters: Count = 2_000
    """Requests of one process that may wait with `?wait=` at once."""
    streams_per_key: Count = 20
    """Event streams that one client key may hold open in one process."""
    rate_limit: CountOrOff = 5_000
    """Requests per second that one client key may send to one process, with bursts of twice as many, or `off`.
    Callbacks do not count."""
    report_rate_limit: CountOrOff = 200
    """How many of these may be reports, lists and searches, with bursts of twice as many, or `off`."""


class DeliverySettings(SettingsGroup):
    """Deliveries"""

    retry_schedule: Durations = tuple(
        read_duration(wait) for wait in ["5s", "30s", "2m", "10m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]
    )
    """The longest waits between attempts; the actual waits are random. There is one more attempt than waits."""
    delivery_timeout: Duration = read_duration("15s")
    """How long one attempt may take, including the response's body."""
    delivery_concurrency: Count = 200
    """Attempts that one worker makes at once for one client at one host; three times as many in all."""
    delivery_memory: Annotated[Size, Field(ge=2**20)] = 64 * 2**20
    """Bytes of events that one worker holds. One client's take at most half. What does not fit is read later."""
    subscription_concurrency: Annotated[int, Field(ge=1, le=100)] = 10
    """Attempts at once for a subscription without a `max_in_flight` of its own. A `notify_hook` has ten."""
    answer_limit: Size = 2**20
    """The largest response that is read from the provider. From subscribers, 16 KiB are read."""
    allowed_networks: Annotated[Networks, Unset("none; `make run` allows loopback")] = ()
    """Networks of subscribers that are allowed although they are not public, e.g. `10.1.0.0/16`."""
    allowed_ports: PortRanges = (read_ports("80"), read_ports("443"), read_ports("1024-65535"))
    """Ports of subscribers that are allowed."""


class ObservabilitySettings(SettingsGroup):
    """Logs and traces"""

    log_format: Literal["auto", "json", "human"] = "auto"
    """`human` for people, `json` for machines; `auto` is human on a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""
    otlp_endpoint: Annotated[Address | None, Unset("no traces")] = None
    """Where traces are sent by OTLP over HTTP, e.g. http://127.0.0.1:4318. Requires the extra `tracing`."""


class ClientSettings(SettingsGroup):
    """Command line"""

    url: Annotated[Address | None, Unset("http://HOST:PORT")] = None
    """The service that `submit`, `tasks`, `watch`, `events` and `listen` use."""
    key: Annotated[Token | None, Unset("none")] = None
    """The client key that these commands use."""


GROUPS: tuple[type[SettingsGroup], ...] = (
    ListenSettings,
    StorageSettings,
    ProviderSettings,
    LimitSettings,
    DeliverySettings,
    ObservabilitySettings,
    ClientSettings,
)
