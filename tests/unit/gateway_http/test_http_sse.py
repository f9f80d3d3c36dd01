from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.gateway.http import EventTooLarge, SseSplitter


def payloads(*reads: bytes) -> list[bytes]:
    splitter = SseSplitter()
    found = [payload for read in reads for payload in splitter.feed(read)]
    assert not splitter.partial
    return found


def test_one_event_a_read_is_the_common_case():
    assert payloads(b'data: {"a": 1}\n\n', b"data: [DONE]\n\n") == [b'{"a": 1}', b"[DONE]"]


def test_several_events_in_one_read():
    assert payloads(b"data: 1\n\ndata: 2\n\ndata: 3\n\n") == [b"1", b"2", b"3"]


def test_lines_of_data_are_joined_and_other_fields_skipped():
    text = b": comment\nevent: x\ndata: a\ndata:b\nid: 7\ndata:  c\ndata\nretry: 1\ndatum: z\n\n"
    assert payloads(text) == [b"a\nb\n c\n"]


def test_events_without_data_are_nothing():
    assert payloads(b": ping\n\n\n\n\nevent: x\n\ndata:\n\n") == [b""]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_is_understood_wherever_a_read_is_cut(end):
    text = end.join([b": x", b"data: 1", b"", b"data: 2", b"data: 3", b"", b"", b"data: 4", b"", b""])
    for cut in range(len(text) + 1):
        assert payloads(text[:cut], text[cut:]) == [b"1", b"2\n3", b"4"]
    assert payloads(*[text[at : at + 1] for at in range(len(text))]) == [b"1", b"2\n3", b"4"]


def test_an_event_ended_by_carriage_returns_is_not_held_back():
    assert SseSplitter().feed(b"data: now\r\r") == [b"now"]


def test_an_unfinished_event_is_seen_as_partial():
    splitter = SseSplitter()
    assert splitter.feed(b"data: 1\n\ndata: cut o") == [b"1"]
    assert splitter.partial
    assert splitter.feed(b"ff\n") == []
    assert splitter.feed(b"\n") == [b"cut off"]
    assert not splitter.partial


@given(st.lists(st.binary(max_size=30).filter(lambda text: b"\n" not in text and b"\r" not in text)), st.data())
def test_any_events_cut_anywhere_come_out_the_same(events, data):
    text = b"".join(b"data: %b\n\n" % event for event in events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    reads = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert payloads(*reads) == events


@given(st.lists(st.lists(st.sampled_from([b"data", b":", b" ", b"\n", b"\r", b"x", b"data: y\n\n"])).map(b"".join)))
def test_any_bytes_are_taken_and_cuts_do_not_matter(reads):
    splitter, whole = SseSplitter(), SseSplitter()
    assert [p for read in reads for p in splitter.feed(read)] == whole.feed(b"".join(reads))
    assert splitter.partial == whole.partial


@pytest.mark.parametrize("size", [1, 7, 1_000, 5_000])
def test_an_event_without_end_is_refused(size):
    splitter = SseSplitter(event_bytes_max=4_000)
    for _ in range(4_000 // size):
        assert splitter.feed(b"x" * size) == []
    with pytest.raises(EventTooLarge):
        splitter.feed(b"x" * size)


def test_a_whole_event_over_the_limit_is_refused_too():
    for text in (b"data: " + b"x" * 100 + b"\n\n", b"data: x\n\ndata: " + b"x" * 100 + b"\n\n"):
        with pytest.raises(EventTooLarge):
            SseSplitter(event_bytes_max=50).feed(text)
