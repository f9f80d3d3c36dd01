"""Signed notes: published examples in, ours out, and nothing that is not one."""

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from fastness.ledger import signing
from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.note import (
    NOTE_BYTES_MAX,
    SIGNATURES_MAX,
    Note,
    NoteInvalid,
    Signature,
    SignatureType,
    parse_key,
    parse_note,
    parse_notes,
    parse_signature,
)
from fastness.ledger.signing import has_ml_dsa, sign_note, signing_key, verify_note
from fastness.ledger.tree import EMPTY_ROOT, leaf_hash

SEED = bytes(range(32))
TEXT = str(Checkpoint("fastness.example/gateway-0", 20, leaf_hash(b"twenty")))

# The example of the specification of signed notes, and the one of Go's package for them.
PUBLISHED = [
    (
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "This is an example message.\n\n— example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n",
    ),
    (
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n\n— PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
    ),
]
KINDS = [
    SignatureType.ED25519,
    SignatureType.COSIGNATURE,
    pytest.param(
        SignatureType.ML_DSA_44, marks=pytest.mark.skipif(not has_ml_dsa(), reason="cryptography has no ML-DSA-44 here")
    ),
]


@pytest.mark.parametrize(("vkey", "text"), PUBLISHED, ids=["specification", "go"])
def test_published_notes_are_read_verified_and_written_again(vkey, text):
    key, note = parse_key(vkey), parse_note(text.encode())

    assert [(one.key, one.time_s) for one in verify_note(note, [key])] == [(key, None)]
    assert (str(key), str(note)) == (vkey, text)
    with pytest.raises(NoteInvalid, match="is not valid"):
        verify_note(Note(note.text.replace("a", "o"), note.signatures), [key])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_signed_verifies_with_the_public_key_alone(kind):
    key = signing_key("fastness.example/gateway-0", kind, SEED)

    read = parse_note(str(sign_note(TEXT, [key], time_s=1_763_800_000)).encode())
    (signed,) = verify_note(read, [parse_key(str(key.verifier))])

    assert signed.key == key.verifier
    assert signed.time_s == (None if kind is SignatureType.ED25519 else 1_763_800_000)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_signature_is_of_this_text_by_this_key_at_this_time(kind, data):
    key = signing_key("fastness.example/gateway-0", kind, SEED)
    (line,) = sign_note(TEXT, [key], time_s=5).signatures
    place = data.draw(st.integers(0, len(line.content) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    content = line.content[:place] + bytes([line.content[place] ^ bit]) + line.content[place + 1 :]

    for text, changed in [
        (TEXT, Signature(line.name, line.key_id, content)),
        (TEXT, Signature(line.name, line.key_id, content[:-1])),
        (TEXT.replace("\n20\n", "\n21\n"), line),
        (TEXT.replace("example", "example2"), line),
    ]:
        with pytest.raises(NoteInvalid, match=r"signature of fastness.example/gateway-0 .* is not valid"):
            verify_note(Note(text, (changed,)), [key.verifier])


def test_a_cosignature_is_what_the_specification_says():
    witness = signing_key("witness.example/w1", SignatureType.COSIGNATURE, SEED)
    plain = signing_key("witness.example/w1", SignatureType.ED25519, SEED)

    (line,) = sign_note(TEXT, [witness], time_s=1_679_315_147).signatures

    (same,) = sign_note(f"cosignature/v1\ntime 1679315147\n{TEXT}", [plain]).signatures
    assert line.content == (1_679_315_147).to_bytes(8, "big") + same.content
    assert line.key_id != same.key_id, "one key has another id for each type"


def test_a_time_is_told_up_to_the_last_one_there_is():
    witness = signing_key("witness.example/w1", SignatureType.COSIGNATURE, SEED)
    latest = signing.TIME_MAX_S

    (signed,) = verify_note(sign_note(TEXT, [witness], latest), [witness.verifier])

    assert signed.time_s == latest == 2**63 - 1
    with pytest.raises(ValueError, match=f"a time of {2**63} seconds is beyond {latest}"):
        witness.sign(TEXT, latest + 1)


@pytest.mark.skipif(not has_ml_dsa(), reason="cryptography has no ML-DSA-44 here")
def test_what_ml_dsa_signs_is_what_the_specification_says():
    witness = signing_key("witness.example/w1", SignatureType.ML_DSA_44, SEED)
    checkpoint = parse_checkpoint(TEXT)

    (line,) = sign_note(TEXT, [witness], time_s=7).signatures

    message = b"".join(
        [
            b"subtree/v1\n\0",
            b"\x12witness.example/w1",
            b"\0\0\0\0\0\0\0\x07",
            b"\x1afastness.example/gateway-0",
            b"\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\x14",
            checkpoint.root,
        ]
    )
    signing.mldsa.MLDSA44PublicKey.from_public_bytes(witness.verifier.public).verify(line.content[8:], message)


def test_signatures_of_unknown_keys_are_passed_over_and_all_of_known_ones_must_hold():
    log, other, witness = (
        signing_key(name, kind, bytes([number]) * 32)
        for number, (name, kind) in enumerate(
            [
                ("fastness.example/gateway-0", SignatureType.ED25519),
                ("fastness.example/gateway-0", SignatureType.ED25519),
                ("witness.example/w1", SignatureType.COSIGNATURE),
            ]
        )
    )
    note = sign_note(TEXT, [log, other, witness], time_s=9)

    assert [one.key for one in verify_note(note, [witness.verifier, log.verifier])] == [log.verifier, witness.verifier]
    assert verify_note(note, []) == []
    forged = Note(note.text, (note.signatures[0], Signature("witness.example/w1", witness.verifier.id, bytes(72))))
    with pytest.raises(NoteInvalid, match="witness"):
        verify_note(forged, [log.verifier, witness.verifier])
    assert note.signed_also(note.signatures) == note, "a line is there once"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text\n", "an empty line"),
        (b"text\n\n", "signature line"),
        (b"text\n\n\n", "signature line"),
        (b"text\n\nno signature\n", "signature line"),
        ("text\n\n— name AAAAAAA=".encode(), "ended by a newline"),
        ("text\n\n— name AAAAAAA=\n— name\n".encode(), "signature line"),
        ("text\n\n— na+me AAAAAAA=\n".encode(), "signature line"),
        ("text\n\n—  AAAAAAA=\n".encode(), "signature line"),
        ("text\n\n— name AAAAAAB=\n".encode(), "no base64"),
        ("text\n\n— name AAAA AAA=\n".encode(), "no base64"),
        ("text\n\n— name AAAAAA==\n".encode(), "is empty"),
        ("text\r\n\n— name AAAAAAA=\n".encode(), "control characters"),
        (b"text\xff\n\n", "UTF-8"),
        (b"x" * (NOTE_BYTES_MAX + 1), "longer"),
        (("text\n\n" + "— name AAAAAAA=\n" * (SIGNATURES_MAX + 1)).encode(), "33 signatures"),
    ],
)
def test_what_is_no_note_is_told_why(content, reason):
    with pytest.raises(NoteInvalid, match=reason):
        parse_note(content)


def test_what_is_exactly_as_long_as_may_be_is_read():
    longest = "x" * (NOTE_BYTES_MAX - len("\n\n— name AAAAAAA=\n".encode())) + "\n\n— name AAAAAAA=\n"
    assert len(longest.encode()) == NOTE_BYTES_MAX
    assert parse_note(longest.encode()).signatures[0].name == "name"
    most = "text\n\n" + "".join(f"— name{number} AAAAAAA=\n" for number in range(SIGNATURES_MAX))
    assert len(parse_note(most.encode()).signatures) == SIGNATURES_MAX


def test_notes_one_after_the_other_are_read_each(signing):
    notes = [
        sign_note(str(Checkpoint(name, size, leaf_hash(b"x"))), signing.key.signers(name), 1)
        for name, size in (("a.example/node", 1), ("a.example/control", 2), ("a.example/node", 3))
    ]
    assert parse_notes("".join(map(str, notes)).encode()) == notes
    assert parse_notes(str(notes[0]).encode()) == notes[:1]
    assert parse_notes(b"") == []
    for cut in (1, 40):
        with pytest.raises(NoteInvalid):
            parse_notes("".join(map(str, notes)).encode()[:-cut])


def test_a_note_is_cut_down_to_the_lines_of_some_keys(signing):
    log, strange = signing.key.signers("a.example/node"), signing.key.signers("b.example/node")
    note = sign_note(TEXT, [*log, *strange], 1)

    assert note.signed_by(key.verifier for key in log) == Note(TEXT, note.signatures[: len(log)])
    assert note.signed_by([]).signatures == ()
    assert note.signed_by([parse_key(str(strange[0].verifier))]).signatures == (note.signatures[len(log)],)


def test_a_note_of_many_paragraphs_is_split_at_the_last_empty_line():
    note = parse_note("one\n\ntwo\n\n— name AAAAAAA=\n".encode())

    assert (note.text, note.signatures) == ("one\n\ntwo\n", (Signature("name", bytes(4), b"\0"),))
    assert parse_signature("— name AAAAAAA=") == note.signatures[0]


@pytest.mark.parametrize(
    ("vkey", "reason"),
    [
        ("", "name[+]id[+]base64"),
        ("name+530d903a", "name[+]id[+]base64"),
        ("two words+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "name[+]id[+]base64"),
        ("example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "damaged"),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U1=", "is not base64"),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==", "damaged"),
        ("example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "type that is known here"),
        ("example.com/foo+530d903a+", "type that is known here"),
    ],
)
def test_what_is_no_key_is_told_why(vkey, reason):
    with pytest.raises(NoteInvalid, match=reason):
        parse_key(vkey)


def test_a_key_has_a_name_that_can_stand_in_a_line():
    for name in ("", "two words", "a+b", "tab\t", "no\u00a0break"):
        with pytest.raises(NoteInvalid, match="cannot be the name of a key"):
            signing_key(name, SignatureType.ED25519, SEED)
    with pytest.raises(ValueError, match="32"):
        signing_key("name", SignatureType.ED25519, b"short")


def test_without_ml_dsa_nothing_is_taken_for_granted(monkeypatch):
    witness = signing_key("witness.example/w1", SignatureType.ED25519, SEED).verifier
    monkeypatch.setattr(signing, "mldsa", None)
    unknown = type(witness)("witness.example/w1", SignatureType.ML_DSA_44, bytes(1_312))
    note = Note(TEXT, (Signature("witness.example/w1", unknown.id, bytes(2_428)),))

    assert not has_ml_dsa()

    class Lacking:
        class MLDSA44PrivateKey:
            @staticmethod
            def from_seed_bytes(seed: bytes) -> None:
                raise UnsupportedAlgorithm("not in this OpenSSL")

    monkeypatch.setattr(signing, "mldsa", Lacking)
    assert not has_ml_dsa()
    monkeypatch.setattr(signing, "mldsa", None)
    with pytest.raises(UnsupportedAlgorithm):
        signing_key("name", SignatureType.ML_DSA_44, SEED)
    with pytest.raises(NoteInvalid, match="which this build of cryptography does not have"):
        verify_note(note, [unknown])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("origin\n1\n", "three lines"),
        ("origin\n1\nAAAA", "three lines"),
        ("\n1\nAAAA\n", "no empty line"),
        (f"origin\n01\n{TEXT.splitlines()[2]}\n", "leading zeroes"),
        (f"origin\n-1\n{TEXT.splitlines()[2]}\n", "not a number"),
        (f"origin\n٣\n{TEXT.splitlines()[2]}\n", "not a number"),
        (f"origin\n9223372036854775808\n{TEXT.splitlines()[2]}\n", "not a number"),
        ("origin\n1\nAAAA\n", "32 bytes"),
        (f"origin\n1\n{TEXT.splitlines()[2][:-1]}\n", "base64"),
        (f"origin\n0\n{TEXT.splitlines()[2]}\n", "empty tree"),
        (f"origin\n1\n{TEXT.splitlines()[2]}\nextension\n\n", "no empty line"),
    ],
)
def test_what_is_no_checkpoint_is_told_why_and_nobody_cosigns_it(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_checkpoint(text)
    with pytest.raises(ValueError, match=reason):
        sign_note(text, [signing_key("witness.example/w1", SignatureType.COSIGNATURE, SEED)])


def test_checkpoints_are_written_as_they_are_read():
    for checkpoint in [
        Checkpoint("origin", 0, EMPTY_ROOT),
        Checkpoint("fastness.example/gateway-0", 2**63 - 1, leaf_hash(b""), ("extension", "another one")),
    ]:
        assert parse_checkpoint(str(checkpoint)) == checkpoint
