"""Every setting, by what it is about: the name in the environment is RELAY_ and the field's, in capitals.

The sentence under a field is its documentation, here, in `kling-relay settings` and in docs/settings.md.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kling_relay.settings.units import (
    Address,
    Count,
    Duration,
    DurationOrNone,
    Durations,
    Networks,
    Port,
    PortRanges,
    Postgres,
    ProviderKey,
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
    """What all groups share: frozen, and documented by the text under each field."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ListenSettings(SettingsGroup):
    """Where the service listens"""

    host: str = "127.0.0.1"
    """The interface to listen on; `0.0.0.0` or `::` for all."""
    port: Port = 8080
    """The port of the API, the callbacks and the console; 0 takes any free one and prints it."""
    public_url: Annotated[Address | None, Unset("http://HOST:PORT")] = None
    """The address of this service as the provider reaches it: callbacks come to `/callbacks/…` below it."""
    metrics_port: Port = 9464
    """The port of `/metrics`, apart so that it need not be public; 0 takes any free one."""
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    """How many processes of `api` or `up` share the port."""
    shutdown_delay: DurationOrNone = read_duration("0")
    """How long `/readyz` is red before listening ends, so that a load balancer looks elsewhere first."""
    shutdown_grace: Duration = read_duration("25s")
    """How long requests and attempts in hand may take to finish after that."""


class StorageSettings(SettingsGroup):
    """Where things are kept"""

    database_url: Annotated[Postgres | None, Unset("an embedded PostgreSQL under RELAY_DATA_DIR")] = None
    """PostgreSQL 14 or newer, as `postgresql://user:password@host:port/name`."""
    database_pooler: bool = False
    """Whether a PgBouncer in transaction mode stands between: no named statements, no settings on connecting."""
    data_dir: Path = Path(".relay")
    """Where the embedded PostgreSQL and the keys made for it live."""
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    """Database connections of each process for look-ups and rare writes; batches have six of their own."""
    record_timeout: Duration = read_duration("5s")
    """How long an order or a callback waits for the database before it is answered 503."""
    retention: Duration = read_duration("90d")
    """How long finished tasks, their events and attempts are kept, and for how long a submission can be repeated."""
    signing_keys: Annotated[
        SigningKeys | None, Unset("with the embedded database: made once, in a file under RELAY_DATA_DIR")
    ] = None
    """Keys of callback tokens and of secrets at rest, newest first; required with RELAY_DATABASE_URL. Old ones stay
    behind the new one for as long as tasks made under them are awaited."""
    bootstrap_key: Annotated[Token | None, Unset("none")] = None
    """A client key with all scopes that exists from the first start, for tests and charts."""
    secrets_dir: Annotated[Path | None, Unset("none")] = None
    """A directory of files named like settings, each holding one value; the environment wins over a file."""


class ProviderSettings(SettingsGroup):
    """The provider"""

    provider_url: Annotated[Address | None, Unset("the sandbox, in process")] = None
    """The gateway or Kling itself, e.g. https://api.openai-hk.com; `api` and `worker`, run apart, must know one."""
    provider_key: Annotated[ProviderKey | None, Unset("none")] = None
    """Its key; for the dialect `kling` an API key, or ACCESS_KEY:SECRET_KEY, of which tokens are then made."""
    provider_dialect: Literal["gateway", "kling"] = "gateway"
    """How it is spoken to. `gateway`: /kling prefix and notify_hook; `kling`: no prefix, callback_url and
    external_task_id."""
    provider_hook_fields: Annotated[Words, Unset("the dialect's own")] = ()
    """Names of the fields that carry our callback address, for gateways that drop the usual one."""
    provider_webhook_secret: Annotated[WebhookSecret | None, Unset("none")] = None
    """`whsec_…`: callbacks must then also carry a valid Standard Webhooks signature."""
    provider_slots: Annotated[Count | None, Unset("unlimited")] = None
    """Tasks in flight at the provider at once: a video counts one, an image order its number of images."""
    provider_timeout: Duration = read_duration("30s")
    """How long one call to the provider may take; a submission that takes longer becomes *unknown*."""
    rulebook: str = "seed"
    """Limits and models that orders are checked by: `seed`, `kling-2026`, or a file."""
    prices: str = "seed"
    """The price list: `seed`, `kling-2026`, or a file."""
    sweep_after: Duration = read_duration("60s")
    """Silence about a task after which the provider is asked."""
    task_deadline: Duration = read_duration("6h")
    """Age at which a task is given up; a success that comes later still counts."""
    confirm_callbacks: bool = False
    """Whether a final state brought by an unsigned callback is confirmed by asking the provider."""
    sandbox_profile: Annotated[str, Unset("well-behaved")] = ""
    """Options of the in-process sandbox, as `option=value` separated by spaces, e.g. `loss=0.3 doubling=0.3`."""


class LimitSettings(SettingsGroup):
    """Bounds on what comes in"""

    order_body_limit: Size = 32 * 2**20
    """Largest body of an order; two images of 10 MB in Base64 fit."""
    callback_body_limit: Size = 2**20
    """Largest body of a callback."""
    header_limit: Size = 16 * 2**10
    """Largest line of a request's head, its first or one header; of headers there may be 128."""
    json_depth: Annotated[int, Field(ge=4, le=500)] = 32
    """How deep JSON may nest."""
    body_timeout: Duration = read_duration("60s")
    """How long a client may take to send a body."""
    idle_timeout: Duration = read_duration("75s")
    """How long a connection may be idle between requests."""
    ingest_queue: Count = 2_000
    """Callbacks waiting for the database in one process; beyond it they are answered 503 with Retry-After."""
    waiters: Count = 2_000
    """Requests of one process that may wait with `?wait=` at once."""
    streams_per_key: Count = 20
    """Event streams that one client key may hold open in one process."""
    rate_limit: Annotated[Count | None, Unset("off")] = None
    """Requests per second that one client key may make of one process, with bursts of twice as many."""


class DeliverySettings(SettingsGroup):
    """Deliveries to subscribers"""

    retry_schedule: Durations = tuple(
        read_duration(wait) for wait in ["5s", "30s", "2m", "10m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"]
    )
    """Longest waits between attempts, each shortened by chance; one attempt more than there are waits is made."""
    delivery_timeout: Duration = read_duration("15s")
    """How long one attempt may take, the answer's body included."""
    delivery_concurrency: Count = 200
    """Attempts that one worker makes at once."""
    subscription_concurrency: Annotated[int, Field(ge=1, le=100)] = 10
    """Attempts at once for one subscription that does not say its own `max_in_flight`; a hook has ten."""
    answer_limit: Size = 2**20
    """How much of an answer of the provider is read, a longer one is not understood; of a subscriber's, 16 KiB."""
    allowed_networks: Annotated[Networks, Unset("none; `make run` allows loopback")] = ()
    """Networks that subscribers may live in though they are not public, e.g. `10.1.0.0/16`."""
    allowed_ports: PortRanges = (read_ports("80"), read_ports("443"), read_ports("1024-65535"))
    """Ports of subscribers that may be dialled."""


class ObservabilitySettings(SettingsGroup):
    """Logs and traces"""

    log_format: Literal["auto", "json", "human"] = "auto"
    """`human` for people, `json` for machines; `auto` is human on a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is worth a line."""
    otlp_endpoint: Annotated[Address | None, Unset("no traces")] = None
    """Where traces go by OTLP over HTTP, e.g. http://127.0.0.1:4318; needs the extra `tracing`."""


class ClientSettings(SettingsGroup):
    """For the command line's own calls to a running service"""

    url: Annotated[Address | None, Unset("http://HOST:PORT")] = None
    """The service that `submit`, `tasks`, `watch`, `events` and `listen` talk to."""
    key: Annotated[Token | None, Unset("none")] = None
    """The client key they use."""


GROUPS: tuple[type[SettingsGroup], ...] = (
    ListenSettings,
    StorageSettings,
    ProviderSettings,
    LimitSettings,
    DeliverySettings,
    ObservabilitySettings,
    ClientSettings,
)
