"""The thread that signs: what it signs is what the log holds, whatever happened before."""

import asyncio
import shutil
from functools import partial
from pathlib import Path

import pytest

import ledger_disk
from fastness.core.event import Event
from fastness.ledger import notary
from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.ledger.note import parse_key, parse_note
from fastness.ledger.port import LedgerCorrupt, LedgerUnavailable
from fastness.ledger.signing import sign_note, verify_note
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.tlog_proof import verify_proof
from fastness.ledger.tree import Frontier, leaf_hash, verify_consistency
from fastness.ledger.verify import verify
from ledger_disk import Disk, until


@pytest.fixture(params=[False, True], ids=["thread", "loop"], autouse=True)
def of_loop(request, monkeypatch) -> None:
    monkeypatch.setitem(globals(), "opened", partial(ledger_disk.opened, of_loop=request.param))


opened = ledger_disk.opened


@pytest.fixture
def disk() -> Disk:
    return Disk()


def lines(log: Path) -> list[bytes]:
    return [line for path in sorted(log.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def root_of(entries: list[bytes]) -> bytes:
    grown = Frontier()
    for entry in entries:
        grown.append(leaf_hash(entry))
    return grown.root()


def on_disk(log: Path) -> Checkpoint:
    note = parse_note((log / "checkpoint").read_bytes())
    keys = [parse_key(line) for line in (log / "keys").read_text().splitlines()]
    assert len(verify_note(note, keys)) == len(keys) == 2
    return parse_checkpoint(note.text)


def lived(log: Path, disk: Disk, signing: Signing, events: list[Event]) -> None:
    async def main() -> None:
        ledger = opened(log, disk, signing=signing)
        await asyncio.gather(*map(ledger.commit, events))
        await ledger.close()

    asyncio.run(main())


def test_a_checkpoint_that_is_asked_for_covers_all_that_was_committed(tmp_path, disk, signing, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk, signing=signing)
        for count in (1, 300):
            await asyncio.gather(*(ledger.commit(event(number)) for number in range(count)))
            signed = parse_checkpoint((await ledger.checkpoint()).text)
            entries = lines(tmp_path)
            assert signed == Checkpoint("fastness.example/gateway-0", len(entries), root_of(entries))
            assert on_disk(tmp_path) == signed
        await ledger.close()
        with pytest.raises(LedgerUnavailable, match="is closed"):
            await ledger.checkpoint()

    asyncio.run(main())


def test_checkpoints_come_by_themselves_and_at_the_end(tmp_path, disk, signing, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk, signing=signing)
        await until(lambda: (tmp_path / "checkpoint").exists())
        assert on_disk(tmp_path).size == 0
        await ledger.commit(event(0))
        await until(lambda: on_disk(tmp_path).size == 1)
        await asyncio.gather(*(ledger.commit(event(number)) for number in range(100)))
        await ledger.close()

    asyncio.run(main())
    assert on_disk(tmp_path).size == 101


def test_a_log_grows_over_lives_and_crashes_and_each_checkpoint_is_of_the_same_log(tmp_path, disk, signing, event):
    kept: list[Checkpoint] = []

    async def life(directory: Path, copy: Path) -> None:
        ledger = opened(directory, disk, signing=signing)
        for number in range(3):
            await asyncio.gather(*(ledger.commit(event(number)) for _ in range(50 * number + 1)))
            kept.append(parse_checkpoint((await ledger.checkpoint()).text))
        await asyncio.gather(*(ledger.commit(event(number)) for number in range(20)))
        shutil.copytree(directory, copy)  # as a killed process leaves it
        await ledger.close()

    for number in range(4):
        asyncio.run(life(tmp_path / str(number), tmp_path / str(number + 1)))
        with max((tmp_path / str(number + 1)).glob("*.jsonl")).open("ab") as file:
            file.write(b"torn" * (number % 2))
    lived(tmp_path / "4", disk, signing, [])

    log, last = StoredLog(tmp_path / "4"), on_disk(tmp_path / "4")
    assert last == Checkpoint("fastness.example/gateway-0", len(lines(tmp_path / "4")), root_of(lines(tmp_path / "4")))
    for old in kept:
        verify_consistency(old.size, old.root, last.size, last.root, log.prove_growth(old.size, last.size))
    assert verify(tmp_path / "4").sound


def test_the_log_of_an_earlier_release_is_taken_up_whole(tmp_path, disk, signing, event, write_log, monkeypatch):
    monkeypatch.setattr(notary, "STEP_ENTRIES", 7)
    write_log(tmp_path, count=30)
    before = lines(tmp_path)

    lived(tmp_path, disk, signing, [event(30)])
    lived(tmp_path, disk, signing, [])
    while on_disk(tmp_path).size < 31:
        lived(tmp_path, disk, signing, [])

    after = lines(tmp_path)
    assert (after[:30], len(after)) == (before, 31)
    assert on_disk(tmp_path).root == root_of(after)


@pytest.mark.parametrize("harm", ["remove", "cut", "edit"])
def test_hashes_that_were_lost_are_written_anew_from_the_entries(tmp_path, disk, signing, event, harm):
    lived(tmp_path, disk, signing, [event(number) for number in range(600)])
    honest = {path.name: path.read_bytes() for path in (tmp_path / "tree").iterdir()}
    for path in (tmp_path / "tree").iterdir():
        path.write_bytes({"cut": path.read_bytes()[:40], "edit": bytes(path.stat().st_size)}.get(harm, b""))
    if harm == "remove":
        shutil.rmtree(tmp_path / "tree")

    lived(tmp_path, disk, signing, [])

    assert {path.name: path.read_bytes() for path in (tmp_path / "tree").iterdir()} == honest


def test_hashes_that_somebody_removes_while_the_log_is_open_come_back(tmp_path, disk, signing, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk, signing=signing)
        await asyncio.gather(*(ledger.commit(event(number)) for number in range(300)))
        await ledger.checkpoint()
        shutil.rmtree(tmp_path / "tree")
        await asyncio.gather(*(ledger.commit(event(number)) for number in range(300)))
        assert parse_checkpoint((await ledger.checkpoint()).text).root == root_of(lines(tmp_path))
        await ledger.close()

    asyncio.run(main())
    assert StoredLog(tmp_path).root(600) == on_disk(tmp_path).root


def test_entries_that_are_not_those_that_were_signed_are_refused(tmp_path, disk, signing, event):
    lived(tmp_path, disk, signing, [event(number) for number in range(100)])
    shutil.rmtree(tmp_path / "tree")
    segment = tmp_path / "00000000.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b"req_7", b"req_8", 1))

    with pytest.raises(LedgerCorrupt, match=r"first 100 entries .* are not those that its checkpoint was signed for"):
        opened(tmp_path, disk, signing=signing)


def cut(log: Path, signing: Signing) -> None:
    (log / "head.json").unlink()
    (log / "00000000.jsonl").write_bytes(b"".join(line + b"\n" for line in lines(log)[:-1]))


def damage(log: Path, signing: Signing) -> None:
    (log / "checkpoint").write_bytes((log / "checkpoint").read_bytes()[:-9])


def forge(log: Path, signing: Signing) -> None:
    text = parse_note((log / "checkpoint").read_bytes()).text.replace("\n100\n", "\n99\n")
    signers = LogKey(bytes([7]) * 32, bytes(32)).signers("fastness.example/gateway-0")
    (log / "checkpoint").write_text(str(sign_note(text, signers, 1)))


def exchange(log: Path, signing: Signing) -> None:
    text = str(Checkpoint("fastness.example/control", 100, bytes(32)))
    (log / "checkpoint").write_text(str(sign_note(text, signing.key.signers("fastness.example/control"), 1)))


def remove(log: Path, signing: Signing) -> None:
    (log / "checkpoint").unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (remove, "it is missing, and this log was signed before"),
        (cut, "has 99 entries, and 100 when its checkpoint was signed: its end was cut"),
        (damage, "is not what was written there"),
        (forge, "signed by none of the keys of this installation"),
        (exchange, "is of 'fastness.example/control'; the log 'gateway-0' was to be opened"),
    ],
)
def test_a_checkpoint_that_does_not_belong_is_refused_and_nothing_is_changed(
    tmp_path, disk, signing, event, harm, reason
):
    lived(tmp_path, disk, signing, [event(number) for number in range(100)])
    harm(tmp_path, signing)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "head.json"}

    for _ in range(2):  # the lock was given up
        with pytest.raises(LedgerCorrupt, match=reason):
            opened(tmp_path, disk, signing=signing)
    assert {path: path.read_bytes() for path in before} == before


def test_a_log_keeps_the_name_that_it_began_with(tmp_path, disk, signing, event):
    lived(tmp_path, disk, signing, [event(0)])
    renamed = Signing(signing.key, "other.example", 0.01)

    lived(tmp_path, disk, renamed, [event(1)])
    lived(tmp_path / "new", disk, renamed, [event(1)])
    lived(tmp_path / "unnamed", disk, Signing(signing.key), [event(1)])

    assert on_disk(tmp_path).origin == "fastness.example/gateway-0"
    assert on_disk(tmp_path / "new").origin == "other.example/gateway-0"
    assert on_disk(tmp_path / "unnamed").origin == f"{signing.key.installation}/gateway-0"


def keys_of(log: Path) -> set[bytes]:
    return {parse_key(line).public for line in (log / "keys").read_text().splitlines()}


def test_no_two_logs_have_a_key_in_common_and_each_has_the_same_after_a_restart(tmp_path, disk, signing, event):
    elsewhere = Signing(LogKey(bytes([3]) * 32, bytes([4]) * 32), "fastness.example", 0.01)
    known: list[bytes] = []
    for folder, by in (("a", signing), ("b", Signing(signing.key, "other.example", 0.01)), ("c", elsewhere)):
        for number in range(2):
            lived(tmp_path / folder, disk, by, [event(number)])
            keys = keys_of(tmp_path / folder)
            known += [] if number else [*keys]
            assert keys == {*known[-2:]}
    known += [one.verifier.public for one in signing.key.shared_signers("x")]
    assert len(set(known)) == len(known) == 8
    assert {one.verifier.name for one in signing.key.signers("x")} == {"x"}


def test_a_log_that_was_begun_when_one_key_signed_all_goes_on_with_that(tmp_path, disk, signing, event, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(LogKey, "signers", LogKey.shared_signers)
        lived(tmp_path, disk, signing, [event(0)])
    kept, keys = on_disk(tmp_path), keys_of(tmp_path)

    for number in (1, 2):
        lived(tmp_path, disk, signing, [event(number)])

    grown = on_disk(tmp_path)
    assert (grown.size, keys_of(tmp_path)) == (3, keys)
    assert keys == {one.verifier.public for one in signing.key.shared_signers("fastness.example/gateway-0")}
    proof = StoredLog(tmp_path).prove_growth(kept.size, grown.size)
    verify_consistency(kept.size, kept.root, grown.size, grown.root, proof)


def test_a_full_disk_keeps_checkpoints_back_and_they_come_when_it_recovers(tmp_path, disk, signing, event, monkeypatch):
    monkeypatch.setattr(notary, "RETRY_S", 0.01)

    class Picky(Disk):
        """Has space for entries, and none for what is derived from them."""

        def write(self, fd: int, content: bytes, offset: int) -> int:
            if self.full and not content.startswith(b"{"):
                raise OSError(28, "No space left on device")
            self_full, self.full = self.full, False
            try:
                return super().write(fd, content, offset)
            finally:
                self.full = self_full

    async def main() -> None:
        picky = Picky()
        ledger = opened(tmp_path, picky, signing=signing)
        await ledger.commit(event(0))
        await ledger.checkpoint()
        picky.full = True
        await ledger.commit(event(1))
        with pytest.raises(LedgerUnavailable, match="cannot sign a checkpoint: No space left"):
            await ledger.checkpoint()
        picky.full = False
        await until(lambda: on_disk(tmp_path).size == 2)
        await ledger.close()

    asyncio.run(main())
    assert on_disk(tmp_path).root == root_of(lines(tmp_path))


def test_a_log_found_wrong_while_it_is_signed_records_nothing_more(tmp_path, disk, signing, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk, signing=Signing(signing.key, "fastness.example", interval_s=60))
        await ledger.commit(event(0))
        await ledger.checkpoint()
        await ledger.commit(event(1))
        segment = tmp_path / "00000000.jsonl"
        segment.write_bytes(segment.read_bytes().replace(b'"index":1', b'"index":2'))
        with pytest.raises(LedgerCorrupt, match="Entry 1 is not where it must be"):
            await ledger.checkpoint()
        with pytest.raises(LedgerUnavailable, match="Entry 1 is not where it must be"):
            await ledger.commit(event(2))
        await ledger.close()

    asyncio.run(main())


def test_without_a_key_there_is_no_checkpoint_and_that_is_said(tmp_path, disk, event):
    async def main() -> None:
        ledger = opened(tmp_path, disk)
        with pytest.raises(LedgerUnavailable, match="is not signed"):
            await ledger.checkpoint()
        await ledger.close()

    asyncio.run(main())
    assert not (tmp_path / "checkpoint").exists()


def test_every_entry_of_a_log_is_proved_by_its_own_files(tmp_path, disk, signing, event):
    lived(tmp_path, disk, signing, [event(number) for number in range(700)])
    log, entries = StoredLog(tmp_path), lines(tmp_path)
    keys = [parse_key(line) for line in (tmp_path / "keys").read_text().splitlines()]

    for index in [0, 1, 255, 256, 511, 512, 698, 699]:
        assert log.entry(index) == entries[index]
        proved = verify_proof(log.prove(index), leaf_hash(entries[index]), keys)
        assert proved.checkpoint.size == 700
    with pytest.raises(IndexError, match="no entry 700"):
        log.entry(700)
    with pytest.raises(IndexError, match="entry 700 is not under the checkpoint of 700 entries"):
        log.prove(700)
