"""RELAY_SIGNING_KEYS rotate under running tasks: what the old key made works on, what it sealed is resealed."""

import asyncpg

from kling_relay.app.serving import listening
from kling_relay.app.signing_keys import signing_keys
from kling_relay.sandbox import Profile
from kling_relay.store.access.encryption import Sealer
from kling_relay.store.access.reencrypt import reseal, survey
from kling_relay.store.postgres.database import connect
from tests.support.service import SIGNING, running, sandboxed, settings_for, subscriber
from tests.support.waiting import eventually

NEW = "the-next-signing-key-0123456789abcdef0123456789abc"
BOTH = f"{NEW},{SIGNING}"


async def test_a_task_and_a_secret_of_the_old_key_live_on_under_the_new_one(database: str) -> None:
    slow = Profile(seconds=(60.0, 60.0))
    async with sandboxed(slow) as (sandbox, provider), subscriber() as other, subscriber() as hook:
        with listening("127.0.0.1", 0) as held:
            port = str(held.getsockname()[1])
            async with running(database, provider, port=port) as relay:
                one = await relay.subscribe(other.url, events=["task.succeed"], headers={"Authorization": "Bearer b"})
                secret = one["secret"]
                task = await relay.submit(notify_hook=hook.url)
            async with running(database, provider, port=port, signing_keys=BOTH) as relay:
                sandbox.finish(next(iter(sandbox.tasks)))  # calls back where the old key's token says
                assert (await relay.final(task))["task_status"] == "succeed"
                await eventually(lambda: len(other.heard) == 1 and len(hook.heard) >= 1)
                assert other.heard[0].verified(secret)["data"]["task_id"] == task
                assert other.heard[0].headers["authorization"] == "Bearer b"


async def test_resealing_brings_everything_under_the_new_key_and_the_old_one_can_go(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other:
        async with running(database, provider) as relay:
            secret = (await relay.subscribe(other.url, events=["task.succeed"]))["secret"]
            hook_secret = (await relay.call("GET", "/v1/hook-secret"))[1]["secret"]
        both = Sealer(signing_keys(settings_for(database, provider, signing_keys=BOTH)))
        async with connect(database) as store:
            looked = await survey(store, both, 100)
            assert (looked.stale, looked.current, looked.lost) == (3, 0, 0)
            done = await reseal(store, both)
            assert (done.renewed, done.current, done.lost) == (3, 0, 0)
            again = await reseal(store, both)
            assert (again.renewed, again.current, again.lost) == (0, 3, 0)
        async with running(database, provider, signing_keys=NEW) as relay:
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 1)
            other.heard[0].verified(secret)
            assert (await relay.call("GET", "/v1/hook-secret"))[1]["secret"] == hook_secret


async def test_headers_of_an_older_release_are_delivered_from_the_clear_and_sealed_by_resealing(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other, asyncpg.create_pool(database) as pool:
        async with running(database, provider) as relay:
            headers = {"Authorization": "Bearer sealed", "X-Team": "red"}
            await relay.subscribe(other.url, events=["task.succeed"], headers=headers)
            older = '{"Authorization": "Bearer of-an-older-release"}'
            await pool.execute("UPDATE subscriptions SET headers = $1", older)  # as it would beside this one
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 1)
        assert other.heard[0].headers["authorization"] == "Bearer of-an-older-release"
        assert "x-team" not in other.heard[0].headers
        new = Sealer(signing_keys(settings_for(database, provider, signing_keys=BOTH)))
        async with connect(database) as store:
            assert (await survey(store, new, 100)).stale == 4
            assert (await reseal(store, new)).renewed == 4
            assert (await reseal(store, new)).current == 4
        assert "older-release" not in await pool.fetchval("SELECT s::text FROM subscriptions s")
        async with running(database, provider, signing_keys=NEW) as relay:
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 2)
            assert other.heard[1].headers["authorization"] == "Bearer of-an-older-release"


async def test_a_subscription_whose_key_is_lost_gets_a_new_secret_and_headers(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other:
        async with running(database, provider) as relay:
            made = await relay.subscribe(other.url, events=["task.succeed"], headers={"X-Token": "old"})
        async with running(database, provider) as relay, asyncpg.create_pool(database) as pool:
            await pool.execute("UPDATE subscriptions SET secrets = 'lost', sealed_headers = 'lost'")
            one = f"/v1/subscriptions/{made['id']}"
            assert (await relay.call("GET", one))[1]["headers"] == {}
            assert (await relay.call("PATCH", one, json={"headers": {"X-Token": "new"}}))[0] == 200
            _, rotated = await relay.call("POST", f"{one}/rotate-secret", json={})
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 1)
            other.heard[0].verified(rotated["secret"])
            assert other.heard[0].headers["x-token"] == "new"


async def test_what_no_key_opens_is_counted_and_left_alone(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider):
        pass
    async with connect(database) as store:
        stranger = Sealer([b"somebody-else's-key-of-thirty-two-letters"])
        assert (await reseal(store, stranger)).lost == 2
        assert (await survey(store, Sealer([SIGNING.encode()]), 100)).current == 2
