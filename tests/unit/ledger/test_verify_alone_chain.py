"""From the admission to the answer: which entries count for it, which do not, and what is said of each."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fastness.ledger import verify_alone as alone
from fastness.ledger.verify_alone import Claim, Found, Head

DAY_MS = 86_400_000
WEIGHTS, OTHER = "ab" * 32, "cd" * 32
MANIFEST = f"{OTHER}  config.json\n{WEIGHTS}  weights.gguf\n"
DIGEST = alone._sha(MANIFEST.encode()).hex()
MODEL = f"model small sha256:{WEIGHTS}"
GATEWAY = Head("town/gateway-0", 90, b"", True, "proved", ())
CONTROL = Head("town/control", 90, b"", True, "proved", ())
TIED = {"replica": "small-1", "epoch": 3, "model_digest": WEIGHTS}
SAID: dict[str, Any] = {
    **TIED, "model": "small", "policy": "p1", "rule": "r1", "tenant": "health", "configuration": "c1",
    "engine": "llama", "build": "7", "marking": "OFFICIAL", "input_tokens": 12, "output_tokens": 9,
    "node": "n1", "jurisdiction": "GB",
    "operator": "crown",
}  # fmt: skip
PLACE = "1970-01-02 00:00:00 UTC, entry 1,500 of town/control"


def answer(time_ms: int = 2 * DAY_MS, head: Head = GATEWAY, **fields: Any) -> Found:
    return Found("inference.completed", time_ms, SAID | fields, 7, head)


def entry(kind: str, time_ms: int = DAY_MS, head: Head = CONTROL, manifest: str = "", at: int = 1_500, **fields: Any):
    return Found(kind, time_ms, {"more": 1, **fields}, at, head, manifest)


def loaded(time_ms: int = DAY_MS, **fields: Any) -> Found:
    return entry("model.loaded", time_ms, **(TIED | fields))


def admitted(time_ms: int = DAY_MS, manifest: str = MANIFEST, digest: str = DIGEST, by: str = "ann bob", **more: Any):
    return entry("model.admitted", time_ms, manifest=manifest, digest=digest, approvers=by, **more)


def revoked(time_ms: int, **more: Any) -> Found:
    return entry("model.revoked", time_ms, manifest=MANIFEST, digest=DIGEST, **more)


def claims(*chain: Found, of: Found | None = None) -> dict[str, Claim]:
    return {one.about: one for one in alone._chain(of or answer(), [*chain])}


def test_every_claim_says_what_it_rests_on() -> None:
    chain = (
        loaded(),
        admitted(),
        entry("policy.applied", policy="p1"),
        entry("configuration.loaded", configuration="c1"),
    )
    assert list(alone._chain(answer(), [*chain])) == [
        Claim("proved", "load", f"{MODEL} is what small-1 had loaded ({PLACE})"),
        Claim("proved", "admission", f"{MODEL} was admitted by ann and bob ({PLACE})"),
        Claim(
            "proved",
            "policy",
            f"policy sha256:p1 was in force; it allowed this for tenant health under rule r1 ({PLACE})",
        ),
        Claim("proved", "configuration", f"configuration sha256:c1 was in force ({PLACE})"),
        Claim(
            "asserted",
            "node",
            "node n1, jurisdiction GB, operator crown",
            "by the installation, in the record of the answer",
        ),
        Claim(
            "asserted",
            "run",
            "engine llama 7, marking OFFICIAL, tokens 12 in, 9 out, recorded 1970-01-03 00:00:00 UTC",
            "by the gateway and its clock, in the record of the answer",
        ),
    ]


def test_without_entries_the_gateway_asserts_what_it_recorded_and_nobody_the_admission() -> None:
    by = "by the gateway, in the record of the answer"
    found = claims(of=answer(node=None, operator=""))
    assert found["load"] == Claim("asserted", "load", f"{MODEL} answered", f"{by}; no entry of its loading came")
    assert found["admission"] == Claim(
        "unknown", "admission", f"who admitted {MODEL}", "no entry of its admission came"
    )
    allowed = "policy sha256:p1 was in force; it allowed this for tenant health under rule r1"
    assert found["policy"] == Claim("asserted", "policy", allowed, by)
    assert found["configuration"] == Claim("asserted", "configuration", "configuration sha256:c1 was in force", by)
    assert found["node"].text == "node undeclared, jurisdiction GB, operator undeclared"


def test_an_answer_that_never_came_has_an_outcome_and_nothing_else() -> None:
    refused = Found("inference.refused", 1, {"code": "queue_full"}, 7, GATEWAY)
    assert list(alone._chain(refused, [loaded()])) == [Claim("proved", "outcome", "it got no whole answer: queue_full")]
    (failed,) = alone._chain(Found("inference.failed", 1, {}, 7, GATEWAY), [])
    assert failed.text == "it got no whole answer: inference.failed"


@pytest.mark.parametrize(
    ("about", "make"),
    [
        ("load", loaded),
        ("admission", admitted),
        ("policy", lambda *at, **more: entry("policy.applied", *at, policy="p1", **more)),
        ("configuration", lambda *at, **more: entry("configuration.loaded", *at, configuration="c1", **more)),
    ],
)
def test_only_what_was_recorded_before_the_answer_counts_and_only_as_much_as_both_logs(about, make) -> None:
    late = 2 * DAY_MS
    assert claims(make(late))[about].verdict == "proved"
    assert claims(make(late + 1))[about].verdict in ("asserted", "unknown")
    untrusted = Head("town/control", 90, b"", False, "asserted", ())
    lesser = claims(make(head=untrusted))[about]
    assert lesser.verdict == "asserted" and "entry 1,500" in lesser.text
    lesser = claims(make(), of=answer(head=untrusted))[about]
    assert lesser.verdict == "asserted" and "entry 1,500" in lesser.text


@pytest.mark.parametrize("field", sorted(TIED))
def test_a_load_of_another_replica_epoch_or_model_does_not_count(field) -> None:
    assert claims(loaded(**{field: "other"}))["load"].verdict == "asserted"
    kept = loaded()
    del kept.fields[field]
    assert claims(kept)["load"].verdict == "asserted"


def test_what_another_host_reported_as_loaded_is_told_as_its_word() -> None:
    assert claims(loaded(reported_by="n1"))["load"].text.endswith(f" had loaded ({PLACE}), as its node n1 reported")


def test_a_model_that_came_with_the_release_is_named_by_its_weights() -> None:
    assert claims(entry("model.shipped", model_digest=WEIGHTS, version="1"))["admission"].verdict == "asserted"
    assert claims(entry("model.shipped", model_digest=OTHER, version="1"))["admission"].verdict == "unknown"


def test_an_entry_that_says_the_same_and_is_of_another_kind_does_not_count() -> None:
    found = claims(
        entry("model.unloaded", **TIED),
        entry("model.proposed", manifest=MANIFEST, digest=DIGEST, approvers="ann"),
        entry("policy.proposed", policy="p1"),
        entry("configuration.proposed", configuration="c1"),
    )
    assert [one.verdict for one in found.values()] == ["asserted", "unknown", *["asserted"] * 4]


def test_another_policy_or_configuration_does_not_count() -> None:
    found = claims(entry("policy.applied", policy="p2"), entry("configuration.loaded", configuration="c2"))
    assert {found[about].verdict for about in ("policy", "configuration")} == {"asserted"}


def test_an_entry_that_says_no_more_than_what_is_asked_counts() -> None:
    bare = Found("policy.applied", 1, {"policy": "p1"}, 2, CONTROL)
    assert claims(bare)["policy"].verdict == "proved"


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_loads_the_last_is_told(order) -> None:
    several = [loaded(DAY_MS, at=1), loaded(DAY_MS + 2, at=3), loaded(DAY_MS + 1, at=2)][::order]
    assert "entry 3 of" in claims(*several)["load"].text


def test_what_happened_at_one_time_is_told_once() -> None:
    assert "entry 1 of" in claims(loaded(at=1, slots=2), loaded(at=2, slots=3))["load"].text
    policy = entry("policy.applied", 1, policy="p1")
    assert len(groups([answer(3, choices=1), answer(3, choices=2), policy])) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_last_of_admission_and_revocation_before_the_answer_counts(order) -> None:
    def told(*chain: Found) -> Claim:
        return claims(*chain[::order])["admission"]

    again = told(admitted(1), revoked(2), admitted(3, by="eve"))
    assert (again.verdict, again.text.split(" (")[0]) == ("proved", f"{MODEL} was admitted by eve")
    gone = told(admitted(DAY_MS - 1), revoked(DAY_MS))
    assert gone == Claim("refuted", "admission", f"{MODEL} was revoked before it answered ({PLACE})")
    assert told(revoked(2 * DAY_MS)).verdict == "refuted"
    assert told(admitted(1), revoked(2 * DAY_MS + 1)).verdict == "proved"


@pytest.mark.parametrize(
    ("manifest", "digest"),
    [
        (MANIFEST, "00" * 32),  # another manifest was admitted
        ("", DIGEST),  # it did not come along
        (f"{OTHER}  config.json\n", None),  # these weights are not in it
        (f"{OTHER}  {WEIGHTS}  x\n", None),  # a file that is called like them is
        (f"0{WEIGHTS}  weights.gguf\n", None),
        (f"{WEIGHTS} weights.gguf\n", None),
    ],
)
@pytest.mark.parametrize("kind", ["model.admitted", "model.revoked"])
def test_only_a_manifest_that_was_admitted_and_names_the_weights_counts(kind, manifest, digest) -> None:
    digest = digest or alone._sha(manifest.encode()).hex()
    other = entry(kind, manifest=manifest, digest=digest, approvers="ann")
    assert claims(other)["admission"].verdict == "unknown"
    assert claims(other, admitted(1))["admission"].verdict == "proved"


ALIKE = ("replica", "epoch", "model_digest", "adapter_digest", "policy", "rule", "tenant", "configuration")


def groups(found: Iterable[Found]) -> list[tuple[str, str]]:
    return [(one.verdict, one.text) for one in alone._answers([*found]) if one.about == "policy"]


@pytest.mark.parametrize("field", ALIKE)
def test_answers_are_told_together_when_all_that_is_told_is_the_same(field) -> None:
    alike = [answer(3), answer(2, finish="length"), entry("policy.applied", 2, policy="p1")]
    assert [text[-15:] for _, text in groups(alike)] == [", for 2 answers"]
    assert len(groups([*alike, answer(4, **{field: "other"})])) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_told_of_many_answers_is_true_of_the_first(order) -> None:
    late = entry("policy.applied", 5, policy="p1")
    assert [verdict for verdict, _ in groups([answer(4), late, answer(6)][::order])] == ["asserted"]
    thousand = [answer(6)] * 1_000
    assert groups([late, *thousand][::order])[0][1].endswith("), for 1,000 answers")


def test_only_whole_answers_are_told_of_and_no_answer_is_evidence_of_another() -> None:
    refused = Found("inference.refused", 1, {"code": "queue_full"}, 7, GATEWAY)
    assert list(alone._answers([refused, loaded()])) == []


def manifests(tmp_path: Path, *records: str) -> dict[str, str]:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as made:
        for at, one in enumerate(records):
            made.writestr(f"models/{at}.json", one)
    with zipfile.ZipFile(tmp_path / "b.zip") as bundle:
        return alone._manifests(bundle, bundle.namelist())


def test_a_manifest_is_made_of_a_record_of_admission_in_the_order_of_paths(tmp_path) -> None:
    files = f'{{"path":"weights.gguf","digest":"{WEIGHTS}"}},{{"path":"config.json","digest":"{OTHER}"}}'
    record = f'{{"admission":{{"artefact":{{"files":[{files}]}}}}}}'
    assert manifests(tmp_path, '{"admission":null}', record, '{"card":{}}') == {DIGEST: MANIFEST}
