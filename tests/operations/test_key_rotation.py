"""RELAY_SIGNING_KEYS rotate under running tasks: old tokens stay valid, and old secrets are re-encrypted."""

import asyncpg

from kling_relay.app.serving import listening
from kling_relay.app.signing_keys import signing_keys
from kling_relay.sandbox import Profile
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.access.reencrypt import reencrypt, survey
from kling_relay.store.postgres.database import connect
from tests.support.service import SIGNING, running, sandboxed, settings_for, subscriber
from tests.support.waiting import eventually

NEW = "the-next-signing-key-0123456789abcdef0123456789abc"
BOTH = f"{NEW},{SIGNING}"


async def test_a_task_and_a_secret_of_the_old_key_still_work_after_a_new_one_is_added(database: str) -> None:
    slow = Profile(seconds=(60.0, 60.0))
    async with sandboxed(slow) as (sandbox, provider), subscriber() as other, subscriber() as hook:
        with listening("127.0.0.1", 0) as held:
            port = str(held.getsockname()[1])
            async with running(database, provider, port=port) as relay:
                subscription = await relay.subscribe(
                    other.url, events=["task.succeed"], headers={"Authorization": "Bearer b"}
                )
                secret = subscription["secret"]
                task = await relay.submit(notify_hook=hook.url)
            async with running(database, provider, port=port, signing_keys=BOTH) as relay:
                sandbox.finish(next(iter(sandbox.tasks)))  # calls back with the token that the old key signed
                assert (await relay.final(task))["task_status"] == "succeed"
                await eventually(lambda: len(other.heard) == 1 and len(hook.heard) >= 1)
                assert other.heard[0].verified(secret)["data"]["task_id"] == task
                assert other.heard[0].headers["authorization"] == "Bearer b"


async def test_after_reencrypt_the_old_key_can_be_removed(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other:
        async with running(database, provider) as relay:
            secret = (await relay.subscribe(other.url, events=["task.succeed"]))["secret"]
            hook_secret = (await relay.call("GET", "/v1/hook-secret"))[1]["secret"]
        both = Encryptor(signing_keys(settings_for(database, provider, signing_keys=BOTH)))
        async with connect(database) as store:
            before = await survey(store, both, 100)
            assert (before.outdated, before.current, before.undecryptable) == (3, 0, 0)
            done = await reencrypt(store, both)
            assert (done.reencrypted, done.current, done.undecryptable) == (3, 0, 0)
            again = await reencrypt(store, both)
            assert (again.reencrypted, again.current, again.undecryptable) == (0, 3, 0)
        async with running(database, provider, signing_keys=NEW) as relay:
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 1)
            other.heard[0].verified(secret)
            assert (await relay.call("GET", "/v1/hook-secret"))[1]["secret"] == hook_secret


async def test_plaintext_headers_of_an_older_release_are_delivered_and_encrypted_by_reencrypt(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other, asyncpg.create_pool(database) as pool:
        async with running(database, provider) as relay:
            headers = {"Authorization": "Bearer sealed", "X-Team": "red"}
            await relay.subscribe(other.url, events=["task.succeed"], headers=headers)
            plaintext = '{"Authorization": "Bearer of-an-older-release"}'
            await pool.execute(
                "UPDATE subscriptions SET headers = $1", plaintext
            )  # as an older release beside this one would
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 1)
        assert other.heard[0].headers["authorization"] == "Bearer of-an-older-release"
        assert "x-team" not in other.heard[0].headers
        new = Encryptor(signing_keys(settings_for(database, provider, signing_keys=BOTH)))
        async with connect(database) as store:
            assert (await survey(store, new, 100)).outdated == 4
            assert (await reencrypt(store, new)).reencrypted == 4
            assert (await reencrypt(store, new)).current == 4
        assert "older-release" not in await pool.fetchval("SELECT s::text FROM subscriptions s")
        async with running(database, provider, signing_keys=NEW) as relay:
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 2)
            assert other.heard[1].headers["authorization"] == "Bearer of-an-older-release"


async def test_a_subscription_whose_key_is_lost_gets_a_new_secret_and_headers(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other:
        async with running(database, provider) as relay:
            created = await relay.subscribe(other.url, events=["task.succeed"], headers={"X-Token": "old"})
        async with running(database, provider) as relay, asyncpg.create_pool(database) as pool:
            await pool.execute("UPDATE subscriptions SET secrets = 'lost', encrypted_headers = 'lost'")
            path = f"/v1/subscriptions/{created['id']}"
            assert (await relay.call("GET", path))[1]["headers"] == {}
            assert (await relay.call("PATCH", path, json={"headers": {"X-Token": "new"}}))[0] == 200
            _, rotated = await relay.call("POST", f"{path}/rotate-secret", json={})
            await relay.final(await relay.submit())
            await eventually(lambda: len(other.heard) == 1)
            other.heard[0].verified(rotated["secret"])
            assert other.heard[0].headers["x-token"] == "new"


async def test_secrets_that_cannot_be_decrypted_are_counted_and_left_alone(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider):
        pass
    async with connect(database) as store:
        stranger = Encryptor([b"somebody-else's-key-of-thirty-two-letters"])
        assert (await reencrypt(store, stranger)).undecryptable == 2
        assert (await survey(store, Encryptor([SIGNING.encode()]), 100)).current == 2
