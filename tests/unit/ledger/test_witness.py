"""A witness cosigns what grew, and nothing else; whoever submits to it believes its signature and nothing else."""

import asyncio
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.note import Note, SignatureType, parse_note, parse_signature
from fastness.ledger.signing import sign_note, signing_key, verify_note
from fastness.ledger.tree import EMPTY_ROOT, Frontier, consistency_proof, leaf_hash, node_hash
from fastness.ledger.witness.judge import Judge
from fastness.ledger.witness.policy import PolicyUnreadable, read_policy
from fastness.ledger.witness.state import StateUnusable, WitnessState, begin
from fastness.ledger.witness.submission import SUBMISSION_BYTES_MAX, Submission, parse_submission

ORIGIN = "fastness.example/gateway-0"
LOG = signing_key(ORIGIN, SignatureType.ED25519, bytes([1]) * 32)
OTHER = signing_key(ORIGIN, SignatureType.ED25519, bytes([2]) * 32)


class Tree:
    """A log's tree in memory; forked from entry `fork` on when it is given."""

    def __init__(self, size: int, fork: int | None = None) -> None:
        self.size = size
        self._leaves = [leaf_hash(b"%d%s" % (n, b"" if fork is None or n < fork else b"!")) for n in range(size)]

    def node(self, height: int, place: int) -> bytes:
        if not height:
            return self._leaves[place]
        return node_hash(self.node(height - 1, 2 * place), self.node(height - 1, 2 * place + 1))

    def note(self, size: int | None = None, key=LOG) -> Note:
        size = self.size if size is None else size
        grown = Frontier()
        for leaf in self._leaves[:size]:
            grown.append(leaf)
        return sign_note(str(Checkpoint(ORIGIN, size, grown.root())), [key])

    def submission(self, old: int, size: int | None = None, key=LOG) -> bytes:
        size = self.size if size is None else size
        proof = consistency_proof(old, size, self.node) if old <= size else []
        return bytes(Submission(old, tuple(proof), self.note(size, key)))


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def state(tmp_path):
    begin(tmp_path / "w", "audit.example/w1", (LOG.verifier,))
    opened = WitnessState(tmp_path / "w")
    yield opened
    opened.close()


@pytest.fixture
def judge(state, told) -> Judge:
    return Judge(state, lambda: 1_763_800_000.5, told.append)


def test_growth_is_cosigned_and_the_cosignature_says_when(state, judge, told) -> None:
    tree = Tree(20)
    for old, size in ((0, 7), (7, 8), (8, 8), (8, 20)):
        reply = judge.judge(tree.submission(old, size))
        assert reply.status == 200
        line = parse_signature(reply.body.rstrip("\n"))
        (signed,) = verify_note(tree.note(size).signed_also([line]), [state.key.verifier])
        assert signed.time_s == 1_763_800_000
    assert told[0] == f"{ORIGIN} grew from 0 to 7 entries: cosigned" and len(told) == 3


def test_another_size_than_the_witness_saw_is_told_which(judge) -> None:
    judge.judge(Tree(9).submission(0))
    reply = judge.judge(Tree(20).submission(4))
    assert (reply.status, reply.body, reply.type) == (409, "9\n", "text/x.tlog.size")
    assert judge.judge(Tree(20).submission(0)).status == 409
    assert judge.judge(Tree(20).submission(9)).status == 200


def test_a_rollback_is_not_cosigned(judge, state) -> None:
    tree = Tree(20)
    judge.judge(tree.submission(0))
    for old, size in ((0, 8), (8, 8), (4, 8)):
        assert judge.judge(tree.submission(old, size)).status == 409
    assert judge.judge(bytes(Submission(20, (), tree.note(8)))).status == 400
    assert state.seen(ORIGIN)[0].size == 20


def test_a_fork_of_the_same_size_is_kept_as_evidence(judge, state, told, tmp_path) -> None:
    judge.judge(Tree(20).submission(0))
    reply = judge.judge(Tree(20, fork=11).submission(20))
    assert reply.status == 422 and state.forks == 1
    reply = judge.judge(Tree(20, fork=11).submission(9))
    assert (reply.status, reply.body, reply.type, state.forks) == (409, "20\n", "text/x.tlog.size", 1)
    assert told[-1].startswith(f"NOT cosigned: {ORIGIN} signed two trees of 20 entries")
    (evidence,) = (tmp_path / "w/forks").iterdir()
    first, second = evidence.read_text().split(f"\n{ORIGIN}\n")
    texts = [first.split("\n\n")[0], f"{ORIGIN}\n{second}".split("\n\n")[0]]
    roots = {parse_checkpoint(f"{text}\n").root for text in texts}
    assert len(roots) == 2


def test_a_fork_that_grew_has_no_proof(judge, state, told) -> None:
    judge.judge(Tree(20).submission(0))
    assert judge.judge(Tree(30, fork=11).submission(20)).status == 422
    assert told[-1].startswith("NOT cosigned")
    before = len(told)
    assert judge.judge(Tree(31, fork=11).submission(20)).status == 422
    assert len(told) == before  # anybody may send it, as often as they like
    assert state.seen(ORIGIN)[0].size == 20 and state.forks == 0


def test_a_log_of_nothing_has_one_root(judge) -> None:
    for found, status in ((EMPTY_ROOT, 200), (leaf_hash(b""), 422)):
        note = sign_note(str(Checkpoint(ORIGIN, 0, found)), [LOG])
        assert judge.judge(bytes(Submission(0, (), note))).status == status


def test_strangers_and_other_keys_get_nothing(judge, tmp_path) -> None:
    assert judge.judge(Tree(5).submission(0, key=OTHER)).status == 403
    stranger = signing_key("other.example/log", SignatureType.ED25519, bytes([3]) * 32)
    note = sign_note(str(Checkpoint("other.example/log", 1, leaf_hash(b"0"))), [stranger])
    assert judge.judge(bytes(Submission(0, (), note))).status == 404


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=400))
def test_whatever_comes_is_answered(tmp_path_factory, content) -> None:
    directory = tmp_path_factory.mktemp("w")
    begin(directory, "w", (LOG.verifier,))
    state = WitnessState(directory)
    try:
        assert Judge(state, lambda: 1.0, lambda text: None).judge(content).status == 400
    finally:
        state.close()


def test_changed_submissions_are_never_cosigned_as_something_else(judge, state) -> None:
    tree, chance = Tree(33), random.Random(3)
    judge.judge(tree.submission(0, 13))
    honest = tree.submission(13)
    for _ in range(2_000):
        mutated = bytearray(honest)
        mutated[chance.randrange(len(honest))] = chance.randrange(256)
        if bytes(mutated) != honest:
            reply = judge.judge(bytes(mutated))
            assert reply.status in (400, 403, 404, 409, 422), (reply, bytes(mutated))
    assert state.seen(ORIGIN)[0].size == 13
    assert judge.judge(honest).status == 200


def test_a_submission_reads_back_as_itself() -> None:
    content = Tree(33).submission(13)
    assert bytes(parse_submission(content)) == content
    with pytest.raises(ValueError, match="at most"):
        parse_submission(content + b"x" * SUBMISSION_BYTES_MAX)


def test_what_was_seen_outlives_the_process_and_a_damaged_memory_signs_nothing(tmp_path, state, judge) -> None:
    judge.judge(Tree(20).submission(0))
    state.close()
    again = WitnessState(tmp_path / "w")
    assert again.seen(ORIGIN)[0].size == 20
    (path,) = (tmp_path / "w/seen").iterdir()
    path.write_text("nonsense")
    with pytest.raises(StateUnusable, match="without it a fork could pass"):
        Judge(again, lambda: 1.0, lambda text: None).judge(Tree(21).submission(20))
    again.close()
    state._lock_fd = os.open(tmp_path, 0)  # for the fixture to close


def test_a_witness_is_one_process_and_its_key_is_its_own(tmp_path, state) -> None:
    with pytest.raises(StateUnusable, match="Another process"):
        WitnessState(tmp_path / "w")
    with pytest.raises(StateUnusable, match="already"):
        begin(tmp_path / "w", "again", ())
    (tmp_path / "w/key").chmod(0o644)
    with pytest.raises(StateUnusable, match="chmod 600"):
        WitnessState(tmp_path / "w", exclusive=False)


W1 = signing_key("a.example/w", SignatureType.COSIGNATURE, bytes([11]) * 32).verifier
W2 = signing_key("b.example/w", SignatureType.COSIGNATURE, bytes([12]) * 32).verifier
W3 = signing_key("c.example/w", SignatureType.COSIGNATURE, bytes([13]) * 32).verifier
THREE = f"witness a {W1} http://a:1\nwitness b {W2}\n# a comment\nwitness c {W3}\n"


@pytest.mark.parametrize(
    ("quorum", "enough", "too_few"),
    [
        ("quorum none", "", None),
        ("quorum a", "a", "bc"),
        ("group g any a b\nquorum g", "b", "c"),
        ("group g 2 a b c\nquorum g", "ac", "b"),
        ("group g all a b c\nquorum g", "abc", "ab"),
        ("group g any a b\ngroup h all g c\nquorum h", "bc", "ab"),
    ],
)
def test_how_many_are_enough_and_the_verifier_that_is_carried_away_agrees(quorum, enough, too_few) -> None:
    from fastness.ledger.verify_alone import read_trust

    policy, trust = read_policy((THREE + quorum).encode()), read_trust(THREE + quorum)
    assert policy.met(set(enough)) and trust.met(enough, trust.quorum)
    if too_few is not None:
        assert not policy.met(set(too_few)) and not trust.met(too_few, trust.quorum)
    assert read_policy(str(policy).encode()) == policy


@pytest.mark.parametrize(
    "bad",
    [
        "quorum d", "quorum a\nquorum a", "", f"witness a {W1}\nquorum a", f"witness d {W1}\nquorum a",
        "witness d\nquorum a",
        "group g 4 a b c\nquorum g", "group g 0 a\nquorum g", "group g any a a\nquorum g", "group g any d\nquorum g",
        "group g any a\ngroup h any a\nquorum h", "group none any a\nquorum none", "nonsense\nquorum a",
        "group g any\nquorum g", "log nonsense\nquorum a",
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_meant_is_refused_by_both(bad) -> None:
    from fastness.ledger.verify_alone import Unreadable, read_trust

    with pytest.raises(PolicyUnreadable):
        read_policy((THREE + bad).encode())
    with pytest.raises(Unreadable):
        read_trust(THREE + bad)


def test_a_log_believes_a_witness_as_far_as_its_signature_goes(tmp_path) -> None:
    from fastness.ledger.witness.policy import Witness
    from fastness.ledger.witness.submitting import NotCosigned, Submitter
    from receipt_world import made_world

    world = made_world(tmp_path)
    directory = tmp_path / "ledger/gateway-0"
    note = parse_note((directory / "checkpoint").read_bytes())
    honest = world.witnesses["audit-office"]
    liar = signing_key(honest.verifier.name, SignatureType.COSIGNATURE, bytes([77]) * 32)
    forged = str(honest.sign(note.text, 5)).replace("A", "B", 3)

    def asked(*answers: tuple[int, bytes]) -> object:
        said = iter(answers)

        async def post(url: str, body: bytes) -> tuple[int, bytes]:
            assert url == "http://w:1/add-checkpoint" and parse_submission(body)
            return next(said)

        submitter = Submitter(directory, Witness("audit", honest.verifier, "http://w:1/"), post, (OSError,))
        return asyncio.run(submitter.submit(note))

    assert asked((200, str(honest.sign(note.text, 5)).encode()))
    assert asked((409, b"7\n"), (200, str(honest.sign(note.text, 5)).encode()))
    for bad in (
        (200, str(liar.sign(note.text, 5)).encode()),
        (200, forged.encode()),
        (200, b"hm"),
        (422, b"no"),
        (409, b"99\n"),
    ):
        with pytest.raises(NotCosigned) as refused:
            asked(bad)
        assert refused.value.disputed
    with pytest.raises(NotCosigned):
        asked(*[(409, b"7\n")] * 5)


def test_the_directory_is_private(tmp_path, state) -> None:
    for path in [tmp_path / "w", *Path(tmp_path / "w").rglob("*")]:
        assert not path.stat().st_mode & 0o077, path
