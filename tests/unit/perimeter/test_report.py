"""A report is genuine or refused, and says what it shows: nobody can change a byte of it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastness import __version__
from fastness.perimeter.installation import Step
from fastness.perimeter.judgement import Claim, Judgement, ReportRefused, judge
from fastness.perimeter.kinds import KINDS, SEALED
from fastness.perimeter.live import Seen
from fastness.perimeter.port import ProbeResult
from fastness.perimeter.probe import PROBES
from fastness.perimeter.probe_reach import table_of
from fastness.perimeter.report import code_digest, signed, summarise
from fastness.perimeter.report_shape import FORMAT, Body, Captured, Host, KindProbed, Outside, canonical
from fastness.perimeter.signing import KeyUnusable, fingerprint, raw, read_public_key, signing_key

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PUBLIC = raw(KEY.public_key())
REFUSED = ProbeResult("packet", "reach", "open a packet socket", refused=True, answer="EAFNOSUPPORT")
KINDS_PROBED = tuple(KindProbed(kind, (REFUSED,)) for kind in KINDS)
STEPS = tuple(Step(name, held=True, detail="well", elapsed_ms=7) for name in ("up", "chat", "stop"))
CLEAN = Captured({"lo": 274}, {"tcp": 274}, 274, 0, 0, ())
LEAK = Outside("lo", "udp", "127.0.0.1", "192.0.2.1", 53, 2)
LEAKING = Captured({"lo": 276}, {"tcp": 274, "udp": 2}, 276, 2, 0, (LEAK,))
LIVE = (Seen("gateway", 7, holds=True, answer="3 Unix sockets"),)


def body(
    kinds: tuple[KindProbed, ...] = KINDS_PROBED,
    steps: tuple[Step, ...] = STEPS,
    capture: Captured = CLEAN,
    live: tuple[Seen, ...] | None = LIVE,
    addresses: tuple[str, ...] = (),
    version: str = "0.0.9",
) -> Body:
    return Body(
        format=FORMAT,
        made_ms=1_795_385_700_279,
        version=version,
        code_sha256="ab" * 32,
        host=Host("Linux", "6.18", "x86_64", "3.11", 7, tcp_judged=True, root=True),
        addresses=addresses,
        leak_planted=False,
        kinds=kinds,
        steps=steps,
        capture=capture,
        live=live,
        summary=summarise(kinds, steps, capture, live),
    )


def texts(judgement: Judgement, claim: Claim) -> str:
    return "\n".join(line.text for line in judgement.lines if line.claim is claim)


def test_a_clean_proof_holds_and_says_what_it_proves_and_what_not() -> None:
    judgement = judge(signed(body(), KEY), PUBLIC)
    assert judgement.holds
    assert judgement.signer == fingerprint(PUBLIC)
    proved = texts(judgement, Claim.PROVED)
    assert (
        "0 of 7 probes passed (engine 1, inspector 1, gateway 1, control 1, supervisor 1, broker 1, door 1)" in proved
    )
    assert "0 of 274 captured packets left the perimeter (on lo)" in proved
    assert "3 steps of work were done meanwhile: up, chat, stop" in proved
    assert "the 1 processes of the running installation held no socket to anybody outside" in proved
    assert texts(judgement, Claim.FAILED) == ""
    assert "hardware attestation" in texts(judgement, Claim.UNKNOWN)
    assert "2026-11-22" in texts(judgement, Claim.ASSERTED)


def test_a_packet_outside_fails_the_proof_and_is_named() -> None:
    judgement = judge(signed(body(capture=LEAKING), KEY))
    assert not judgement.holds
    assert "2 of 276 captured packets left the perimeter" in texts(judgement, Claim.FAILED)
    assert "udp to 192.0.2.1 port 53, 2 times, on lo" in texts(judgement, Claim.FAILED)


def test_a_probe_that_got_through_fails_the_proof_and_is_named() -> None:
    through = replace(REFUSED, refused=False, answer="allowed")
    judgement = judge(signed(body(kinds=(*KINDS_PROBED[:-1], KindProbed("door", (REFUSED, through)))), KEY))
    assert not judgement.holds
    assert "1 of 8 probes passed" in texts(judgement, Claim.FAILED)
    assert "from inside door: open a packet socket (packet: allowed)" in texts(judgement, Claim.FAILED)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": (*STEPS, Step("tools", held=False, detail="expected a call", elapsed_ms=1))}, "step `tools`"),
        ({"capture": msgspec.structs.replace(CLEAN, packets_missed=3)}, "3 packets went by unseen"),
        ({"live": (Seen("control", 9, holds=False, answer="a TCP socket from A to B"),)}, "a TCP socket from A to B"),
    ],
)
def test_whatever_failed_fails_the_proof(changed: dict[str, object], said: str) -> None:
    judgement = judge(signed(body(**changed), KEY))  # type: ignore[arg-type]
    assert not judgement.holds
    assert said in texts(judgement, Claim.FAILED)


@pytest.mark.parametrize(
    "changed",
    [
        {"kinds": KINDS_PROBED[1:]},
        {"kinds": (*KINDS_PROBED[:-1], KindProbed("broker", ()))},
        {"kinds": KINDS_PROBED[::-1]},
        {"steps": STEPS[:-1]},
        {"steps": ()},
        {"capture": Captured({}, {}, 0, 0, 0, ())},
    ],
)
def test_what_is_missing_proves_nothing(changed: dict[str, object]) -> None:
    assert not judge(signed(body(**changed), KEY)).holds  # type: ignore[arg-type]


def test_without_a_running_installation_or_a_key_that_is_said() -> None:
    unknown = texts(judge(signed(body(live=None), KEY)), Claim.UNKNOWN)
    assert "none ran" in unknown
    assert "signing.pub" in unknown


def whole(kind: str) -> KindProbed:
    table = PROBES if kind in SEALED else table_of(kind, judged=True, names=False)
    return KindProbed(kind, tuple(ProbeResult(one.id, one.layer, one.attempt, True, "EPERM") for one in table))


def test_a_report_of_this_version_that_leaves_a_probe_out_is_refused_whoever_signed_it() -> None:
    kinds = tuple(whole(kind) for kind in KINDS)
    assert judge(signed(body(kinds=kinds, version=__version__), KEY), PUBLIC).holds
    for at, one in enumerate(kinds):
        short = KindProbed(one.kind, one.probes[:-1])
        with pytest.raises(ReportRefused, match=f"leaves out 1 probes that are made from inside {one.kind}"):
            judge(signed(body(kinds=(*kinds[:at], short, *kinds[at + 1 :]), version=__version__), KEY), PUBLIC)
    with pytest.raises(ReportRefused, match="a kind of process that there is not"):
        judge(signed(body(kinds=(*kinds, KindProbed("console", ())), version=__version__), KEY), PUBLIC)
    with pytest.raises(ReportRefused, match="its addresses are none"):
        judge(signed(body(kinds=kinds, addresses=("everywhere",), version=__version__), KEY), PUBLIC)


def test_what_another_version_tries_is_unknown() -> None:
    assert "whether everything was tried that fastness 0.0.9 tries" in texts(judge(signed(body(), KEY)), Claim.UNKNOWN)


def test_configured_addresses_are_told() -> None:
    judgement = judge(signed(body(addresses=("login.example:443",)), KEY))
    assert "may connect to: login.example:443" in texts(judgement, Claim.ASSERTED)


def test_no_byte_can_be_changed_added_or_taken_away() -> None:
    content = signed(body(capture=LEAKING), KEY)
    for at in range(len(content)):
        for changed in (
            content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
            content[:at] + content[at + 1 :],
            content[:at] + b" " + content[at:],
        ):
            if changed != content:
                with pytest.raises(ReportRefused):
                    judge(changed)


def test_a_report_signed_anew_by_another_key_is_found_by_the_key_given() -> None:
    forged = signed(body(), OTHER)
    assert judge(forged).signer == fingerprint(raw(OTHER.public_key()))
    with pytest.raises(ReportRefused, match="not by the key given"):
        judge(forged, PUBLIC)


@pytest.mark.parametrize(
    ("name", "value"),
    [("packets_outside", 0), ("probes_allowed", 1), ("probes_total", 999), ("steps_failed", 1), ("holds", True)],
)
def test_a_summary_that_its_own_lists_deny_is_refused_whoever_signed_it(name: str, value: object) -> None:
    honest = body(capture=LEAKING)
    lying = msgspec.structs.replace(honest, summary=msgspec.structs.replace(honest.summary, **{name: value}))
    with pytest.raises(ReportRefused, match=f"its summary says {name} {value}; its own lists give"):
        judge(signed(lying, KEY), PUBLIC)


@pytest.mark.parametrize(
    "capture",
    [
        Captured({"lo": 274}, {"tcp": 273}, 274, 0, 0, ()),
        Captured({"lo": 276}, {"tcp": 276}, 276, 0, 0, (LEAK,)),
        Captured({"lo": 276}, {"tcp": 276}, 276, 3, 0, (LEAK,)),
    ],
)
def test_counts_that_contradict_each_other_are_refused(capture: Captured) -> None:
    with pytest.raises(ReportRefused, match="contradict"):
        judge(signed(body(capture=capture), KEY))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"PK\x03\x04", b'{"body":' * 5_000])
def test_what_is_no_report_is_refused(content: bytes) -> None:
    with pytest.raises(ReportRefused, match="not a report"):
        judge(content)


def test_another_format_another_algorithm_and_too_many_bytes_are_refused() -> None:
    with pytest.raises(ReportRefused, match="this software reads"):
        judge(signed(msgspec.structs.replace(body(), format="fastness-perimeter-report/2"), KEY))
    tree = json.loads(signed(body(), KEY))
    tree["signature"]["algorithm"] = "none"
    with pytest.raises(ReportRefused, match="Ed25519 is needed"):
        judge(canonical(tree) + b"\n")
    tree["signature"] = {"algorithm": "Ed25519", "public_key": base64.b64encode(b"short").decode(), "value": ""}
    with pytest.raises(ReportRefused, match="cannot be read"):
        judge(canonical(tree) + b"\n")
    with pytest.raises(ReportRefused, match="at most"):
        judge(bytes(16_777_217))


def test_the_code_that_was_proved_is_named_by_its_files() -> None:
    assert len(code_digest()) == 64
    assert code_digest() == code_digest()


# --- the key ---------------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_for_its_owner_alone_and_its_public_half_is_shown(tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    assert raw(signing_key(tmp_path).public_key()) == raw(key.public_key())
    assert (tmp_path / "secrets/signing.key").stat().st_mode & 0o777 == 0o600
    assert read_public_key(tmp_path / "signing.pub") == raw(key.public_key())
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["signing.key"]


def test_a_public_half_that_was_lost_or_changed_is_written_anew(tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    (tmp_path / "signing.pub").write_text("somebody else's")
    signing_key(tmp_path)
    assert read_public_key(tmp_path / "signing.pub") == raw(key.public_key())


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    signing_key(tmp_path)
    (tmp_path / "secrets/signing.key").chmod(0o640)
    with pytest.raises(KeyUnusable, match="mode 640"):
        signing_key(tmp_path)


def test_what_is_no_ed25519_key_is_said_to_be_none(tmp_path: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "secrets").mkdir()
    private = tmp_path / "secrets/signing.key"
    for content, said in (
        (b"nonsense", "not a private key"),
        (curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "Ed25519"),
    ):
        private.write_bytes(content)
        private.chmod(0o600)
        with pytest.raises(KeyUnusable, match=said):
            signing_key(tmp_path)
    public = tmp_path / "pub"
    for content, said in (
        (b"nonsense", "not a public key"),
        (curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "Ed25519"),
    ):
        public.write_bytes(content)
        with pytest.raises(KeyUnusable, match=said):
            read_public_key(public)
