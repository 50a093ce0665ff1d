"""A key's life: contributed, checked, sealed, probed, rotated, erased."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from intents.reject import Reject, RejectCode
from solver.vault import Catalogue, Contributed, Health, LocalKeyWrapper, Secret, Sharing
from solver.vault.fault import SealFault
from tests.patience import patience_s
from tests.vault.fixture import CHAT, KEY, OTHER_KEY, OWNER, SEARCH, World, a_world


async def contribute(world: World, key: bytes = KEY, **changes: object) -> Contributed | Reject:
    """A contribution, with the attestation unless changed."""
    options: dict[str, object] = {"owner": OWNER, "provider": "echo", "attested": True, **changes}
    return await world.vault.contribute(secret=Secret(key), **options)  # type: ignore[arg-type]


def on_disk(directory: Path) -> bytes:
    """Every byte of every file."""
    return b"".join(file.read_bytes() for file in directory.iterdir())


async def test_a_contributed_key_is_described_and_sealed(tmp_path: Path) -> None:
    """The outside gets an id that tells nothing; the disk gets ciphertext."""
    async with a_world(tmp_path) as world:
        one = await contribute(world)
        other = await contribute(world, OTHER_KEY)
        assert isinstance(one, Contributed)
        assert isinstance(other, Contributed)
        assert one.resources == (SEARCH, CHAT)
        assert one.limits[0].units == 10
        assert len(one.key_id) == 66
        assert one.key_id != other.key_id
        assert world.vault.describe(one.key_id) == one
        stored = on_disk(tmp_path)
        assert all(KEY[at : at + 8] not in stored for at in range(len(KEY) - 7))


async def test_contributing_takes_the_secret(tmp_path: Path) -> None:
    """The caller's secret is closed in every case."""
    async with a_world(tmp_path) as world:
        for provider in ("echo", "nobody"):
            secret = Secret(KEY)
            await world.vault.contribute(OWNER, provider, secret, attested=True)
            with pytest.raises(ValueError, match="closed"), secret.exposed():
                pass


async def test_refusals_come_in_their_order(tmp_path: Path) -> None:
    """Provider, terms, attestation, form, duplicate, health."""
    async with a_world(tmp_path) as world:
        expected = [
            (RejectCode.PROVIDER_UNKNOWN, {"provider": "nobody", "attested": False}),
            (RejectCode.ATTESTATION_MISSING, {"attested": False, "key": b"bad key"}),
            (RejectCode.MALFORMED, {"key": b"bad key with spaces"}),
        ]
        for code, changes in expected:
            refusal = await contribute(world, **changes)  # type: ignore[arg-type]
            assert isinstance(refusal, Reject)
            assert refusal.code is code
        assert world.upstream.probes == 0
        await contribute(world)
        again = await contribute(world, owner="0x" + "0c" * 20)
        assert isinstance(again, Reject)
        assert again.code is RejectCode.KEY_DUPLICATE


@pytest.mark.parametrize("policy", [Sharing.FORBIDDEN, Sharing.UNKNOWN, Sharing.OWN_ORG])
async def test_a_key_that_must_not_be_shared_is_not_pooled(tmp_path: Path, policy: Sharing) -> None:
    """Not for third parties, attested or not, and the key is not even tried."""
    async with a_world(tmp_path, sharing=policy) as world:
        refusal = await contribute(world)
        assert isinstance(refusal, Reject)
        assert refusal.code is RejectCode.SHARING_FORBIDDEN
        assert world.upstream.probes == 0


async def test_a_dead_key_is_not_pooled(tmp_path: Path) -> None:
    """The probe at contribution decides, and costs no unit."""
    async with a_world(tmp_path) as world:
        world.upstream.dead.add(KEY.decode())
        refusal = await contribute(world)
        assert isinstance(refusal, Reject)
        assert refusal.code is RejectCode.HEALTH_CHECK_FAILED
        assert KEY.decode() not in str(refusal)
        assert world.upstream.requests == []


async def test_a_probe_tells_live_from_dead(tmp_path: Path) -> None:
    """And an unknown key from both."""
    async with a_world(tmp_path) as world:
        key = await world.pool()
        assert await world.vault.probe(key) is Health.HEALTHY
        world.upstream.dead.add(KEY.decode())
        assert await world.vault.probe(key) is Health.DEAD
        world.vault.revoke(key)
        gone = await world.vault.probe(key)
        assert isinstance(gone, Reject)
        assert gone.code is RejectCode.KEY_UNKNOWN


async def test_a_revoked_key_is_gone_and_can_be_given_again(tmp_path: Path) -> None:
    """Erased at once; it returns under its id, by which the market counts its windows (P4)."""
    async with a_world(tmp_path) as world:
        first = await world.pool()
        assert world.vault.revoke(first)
        assert not world.vault.revoke(first)
        assert world.vault.describe(first) is None
        assert await world.pool() == first
        assert await world.pool(OTHER_KEY) != first


async def test_rotation_moves_every_key(tmp_path: Path) -> None:
    """Afterwards the old key-encryption key opens nothing, and everything still works."""
    async with a_world(tmp_path) as world:
        old = LocalKeyWrapper(tmp_path / "kek")
        keys = [await world.pool(KEY), await world.pool(OTHER_KEY)]
        new = LocalKeyWrapper(tmp_path / "kek2")
        assert await world.vault.rotate(new) == 2
        assert await world.vault.rotate(new) == 0
        await world.fetch()
        duplicate = await contribute(world)
        assert isinstance(duplicate, Reject)
        assert duplicate.code is RejectCode.KEY_DUPLICATE
        world.vault._keyring._wrapper = old
        for key in keys:
            with pytest.raises(SealFault):
                world.vault._keyring.open(key)


async def test_calls_go_on_while_keys_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps of a rotation every key opens, contributed before or meanwhile."""
    monkeypatch.setattr("solver.vault.keyring.ROTATED_AT_ONCE_MAX", 1)
    async with a_world(tmp_path) as world:
        keys = [await world.pool(KEY + str(number).encode()) for number in range(5)]
        rotation = asyncio.create_task(world.vault.rotate(LocalKeyWrapper(tmp_path / "kek2")))
        while not rotation.done():
            await asyncio.sleep(0)
            for key in keys:
                secret = world.vault._keyring.open(key)
                assert secret is not None
                secret.close()
        assert await rotation == 5


async def test_a_key_without_its_provider_keeps_its_owner(tmp_path: Path) -> None:
    """A provider that left the catalogue does not make its keys nobody's."""
    async with a_world(tmp_path) as world:
        key = await world.pool()
        world.vault.catalogue = Catalogue({})
        described = world.vault.describe(key)
        assert described is not None
        assert (described.owner, described.resources) == (OWNER, ())
        assert isinstance(await world.vault.probe(key), Reject)


async def test_the_loop_goes_on_while_the_disk_is_waited_for(tmp_path: Path) -> None:
    """A lock that another process holds on the file delays a contribution, and nobody else."""
    async with a_world(tmp_path) as world:
        held = sqlite3.connect(tmp_path / "keys.sqlite", isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(contribute(world))
        await asyncio.wait_for(asyncio.sleep(0.05), timeout=patience_s())
        assert not task.done()
        held.execute("ROLLBACK")
        held.close()
        assert isinstance(await task, Contributed)


async def test_a_contribution_that_is_cancelled_seals_no_other_bytes(tmp_path: Path) -> None:
    """Cancelled while it is being sealed, the key is kept whole or not at all."""
    async with a_world(tmp_path) as world:
        held = sqlite3.connect(tmp_path / "keys.sqlite", isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(contribute(world))
        await asyncio.sleep(0.05)
        task.cancel()
        held.execute("ROLLBACK")
        held.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = await contribute(world)
        assert isinstance(again, Contributed) or again.code is RejectCode.KEY_DUPLICATE


async def test_many_contributions_at_once_are_each_kept_once(tmp_path: Path) -> None:
    """The same key from many sides at once is one key; the first pepper is made once."""
    async with a_world(tmp_path) as world:
        results = await asyncio.gather(*(contribute(world) for _ in range(8)))
        kept = [one for one in results if isinstance(one, Contributed)]
        refusals = [one.code for one in results if isinstance(one, Reject)]
        assert (len(kept), set(refusals)) == (1, {RejectCode.KEY_DUPLICATE})
