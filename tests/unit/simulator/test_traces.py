"""Traces are read as published, told apart by their content, and refused with file and line."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from fastness.simulator.servegen import read_clients, read_rates
from fastness.simulator.trace_error import TraceError
from fastness.simulator.traces import Asked, Rates, Requests, load, read

SHARED = Path(__file__).resolve().parents[4] / "shared/data/traces"
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:05.9799600,0,0
"""
LENGTHS = {"0": {"input_tokens": "{10: 0.5, 30: 0.5}", "output_tokens": "{7: 1.0}"}}


def servegen(folder: Path, *, lengths: bool = True) -> Path:
    """Two clients of one family, three spans; the second asks only in the last."""
    family = folder / "language-m-tiny"
    family.mkdir(parents=True)
    (family / "chunk-0-trace.csv").write_text("0,2.0,1.0,Gamma,1.0,0.5\n600,4.0,2.0,Weibull,0.6,0.2\n1200,0,0,,0,0\n")
    (family / "chunk-1-trace.csv").write_text("0,0,0,,0,0\n600,0,0,,0,0\n1200,1.0,1.0,Gamma,1.0,1.0\n")
    if lengths:
        (family / "chunk-0-dataset.json").write_text(json.dumps(LENGTHS))
    return folder


def packed(folder: Path, place: Path) -> Path:
    with tarfile.open(place, "w:gz") as tar:
        tar.add(folder, arcname=".")
    return place


def test_azure_is_read_as_published_with_seven_digits_of_a_second(tmp_path: Path) -> None:
    path = tmp_path / "whatever.txt"
    path.write_text(AZURE)
    trace = read(path)
    assert isinstance(trace, Requests) and trace.format == "azure"
    first, second, third = load(trace)
    assert (first.at_s, first.input_tokens, first.output_tokens) == (0.0, 4808, 10)
    assert second.at_s == pytest.approx(0.052, abs=1e-6)
    assert (third.input_tokens, third.output_tokens) == (1, 1), "what was not counted is one token"


def test_azures_later_traces_with_a_zone_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n")
    assert load(read(path)) == [Asked(0.0, 2162, 5)]  # type: ignore[arg-type]


def test_mooncake_is_read_as_published_with_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('{"timestamp": 3000, "input_length": 700, "output_length": 5, "hash_ids": [46, 47]}\n\n'
                    '{"timestamp": 3500, "input_length": 6, "output_length": 9, "hash_ids": []}')  # fmt: skip
    trace = read(path)
    assert isinstance(trace, Requests) and trace.format == "mooncake"
    assert load(trace) == [Asked(0.0, 700, 5, (46, 47)), Asked(0.5, 6, 9)]


@pytest.mark.parametrize("archived", [False, True])
def test_servegen_is_read_from_a_folder_or_its_archive(tmp_path: Path, archived: bool) -> None:
    place = servegen(tmp_path / "one")
    trace = read(packed(place, tmp_path / "one.bin") if archived else place)
    assert isinstance(trace, Rates)
    assert (trace.span_s, trace.spans) == (600.0, 3)
    first, second = sorted(trace.clients, key=lambda one: one.name)
    assert (first.family, list(first.rates), list(first.weibull)) == ("language-m-tiny", [2.0, 4.0, 0.0], [0, 1, 0])
    assert first.lengths[0][0].mean == 20 and first.lengths[0][1].mean == 7
    assert list(second.rates) == [0.0, 0.0, 1.0] and not second.lengths


def test_rates_alone_are_read_too(tmp_path: Path) -> None:
    clients = read_rates(servegen(tmp_path / "one", lengths=False))
    assert [bool(one.lengths) for one in clients] == [False, False]
    with pytest.raises(TraceError, match="no client in it has both lengths and a rate"):
        read_clients(tmp_path / "one")


def test_the_clients_of_the_busiest_span_have_their_lengths(tmp_path: Path) -> None:
    (client,) = read_clients(servegen(tmp_path / "one"))
    assert (client.name, client.rate, client.distribution) == ("0", 2.0, "Gamma")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("hello\n", r"line 1: needed a CSV that begins with TIMESTAMP"),
        ("", r"line 1: needed a CSV"),
        (AZURE + "2023-11-16 18:17:06.0,many,3\n", r"line 5: needed TIMESTAMP,ContextTokens.*got '2023.*many,3'"),
        (AZURE + "2023-11-16 18:17:06.0,3\n", r"line 5: needed"),
        (AZURE + "2023-11-16 18:17:06.0,-3,3\n", r"line 5: needed from 0 to 10,000,000 tokens"),
        ('{"timestamp": 1, "input_length": 2, "output_length": 3}\n[]\n', r"line 2: needed a JSON object"),
        ('{"timestamp": 1, "input_length": 2, "output_length": 3}\n{"timestamp": 1}\n', r"line 2: needed"),
        ('{"timestamp": NaN, "input_length": 2, "output_length": 3}\n', r"line 1: needed"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", r"no request in it"),
    ],
)
def test_what_cannot_be_read_is_refused_with_file_and_line(tmp_path: Path, written: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(written)
    with pytest.raises(TraceError, match=said) as refused:
        load(read(path))  # type: ignore[arg-type]
    assert str(path) in str(refused.value)


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(AZURE + "9" * 3_000_000)
    with pytest.raises(TraceError, match="line 5: longer than 1,048,576 bytes"):
        load(read(path))  # type: ignore[arg-type]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bytes.csv"
    path.write_bytes(AZURE.encode() + b"\xff\xfe\n")
    with pytest.raises(TraceError, match="line 5: not UTF-8"):
        load(read(path))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("0,2.0,1.0,Gamma,1.0", 1),
        ("0,2.0,1.0,Normal,1.0,0.5", 1),
        ("0,1,1,Gamma,1,1\n0,1,1,Gamma,1,1", 2),
        ("0,1,1,Gamma,1,1\n600,-1,1,Gamma,1,1", 2),
        ("0,inf,1,Gamma,1,1", 1),
        ("0,nan,1,Gamma,1,1", 1),
    ],
)
def test_a_clients_row_that_is_none_is_refused_with_its_line(tmp_path: Path, row: str, line: int) -> None:
    (tmp_path / "chunk-3-trace.csv").write_text(row + "\n")
    with pytest.raises(TraceError, match=f"chunk-3-trace.csv, line {line}: needed second"):
        read(tmp_path)


def test_lengths_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = servegen(tmp_path / "one")
    (folder / "language-m-tiny/chunk-1-dataset.json").write_text('{"0": {"input_tokens": "__import__(1)"}}')
    with pytest.raises(TraceError, match=r"chunk-1-dataset\.json: needed, by second, input_tokens"):
        read(folder)


def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = packed(servegen(tmp_path / "one"), tmp_path / "one.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TraceError, match="not a whole tar archive"):
        read(tmp_path / "cut.tar.gz")


def test_an_archive_without_clients_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("chunk-x-trace.csv"), io.BytesIO())
    with pytest.raises(TraceError, match=r"no chunk-N-trace\.csv in it"):
        read(tmp_path / "x.tar.gz")


def test_the_real_traces_have_the_requests_that_were_counted_in_them() -> None:
    if not SHARED.is_dir():
        pytest.skip("the traces are not part of this repository")
    code = load(read(SHARED / "azure/AzureLLMInferenceTrace_code.csv"))  # type: ignore[arg-type]
    assert (len(code), int(code[-1].at_s)) == (8_819, 3_435)
