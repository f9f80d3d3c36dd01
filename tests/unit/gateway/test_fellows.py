"""What one gateway alone cannot tell: whoever scrapes the shared port hears of all gateways."""

import socket

from fastness.gateway.fellows import Fellows
from policed import opened, run


def test_the_page_of_metrics_has_all_gateways_that_answer(tmp_path):
    async def test() -> None:
        async with opened(tmp_path) as door:
            await door.server.listen_at(tmp_path / "gateway-1.sock")  # itself, as if it were another
            assert "gateway=" not in (await door.send("/metrics")).body.decode()
            sockets = {name: str(tmp_path / f"{name}.sock") for name in ("gateway-1", "gateway-2")}
            door.app.fellows = Fellows(door.connections, sockets)
            page = (await door.send("/metrics")).body.decode()
            lines = [line for line in page.splitlines() if line.startswith("fastness_connections{")]
            assert [line.partition("} ")[0] for line in lines] == [
                'fastness_connections{gateway="gateway-0"',
                'fastness_connections{gateway="gateway-1"',
            ]

    run(test)


def test_one_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("fastness.gateway.fellows.ANSWER_TIMEOUT_S", 0.05)

    async def test() -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "gateway-1.sock"))
            silent.listen()
            async with opened(tmp_path) as door:
                fellows = Fellows(door.connections, {"gateway-1": str(tmp_path / "gateway-1.sock")})
                assert await fellows.pages() == {}

    run(test)
