"""What gateways report is read while they live."""

from fastness.control.gateway_reports import SILENT_MS, GatewayReports
from fastness.core.observation import GatewayReport
from fastness.store.snapshot_file import write_snapshot


def test_the_last_report_of_each_gateway_counts_until_it_is_silent_for_too_long(tmp_path):
    now = [100_000]
    reports = GatewayReports(tmp_path, lambda: now[0])
    assert reports.read() == ()
    write_snapshot(tmp_path / "load-b.json", GatewayReport("b", now[0], 1))
    write_snapshot(tmp_path / "load-a.json", GatewayReport("a", now[0], 1))
    assert [one.gateway for one in reports.read()] == ["a", "b"]
    now[0] += SILENT_MS
    write_snapshot(tmp_path / "load-b.json", GatewayReport("b", now[0], 2))
    now[0] += 1
    assert [(one.gateway, one.routing_version) for one in reports.read()] == [("b", 2)]


def test_a_report_that_is_torn_or_gone_does_not_hide_the_others(tmp_path):
    reports = GatewayReports(tmp_path, lambda: 0)
    write_snapshot(tmp_path / "load-a.json", GatewayReport("a", 0, 1))
    (tmp_path / "load-b.json").write_text('{"gateway": "b"')
    assert [one.gateway for one in reports.read()] == ["a"]
    (tmp_path / "load-a.json").unlink()
    assert reports.read() == ()
