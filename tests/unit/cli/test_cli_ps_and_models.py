"""`fastness ps` and `fastness models`, over the control socket and without it."""

import re
import time

from fastness.cli.ps import COLUMNS, ceiling, own, places, rows, troubles, unsettled
from fastness.cli.render import table
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Diagnosis, Replica, ReplicaState

CHAT = ModelCard("smollm2-135m-instruct", ModelKind.CHAT, "b179c952" * 8, 98_362_432, "Apache-2.0", 8_192, 0)


def replica(number, state=ReplicaState.READY, **changes):
    given = {
        "id": f"smollm2-135m-instruct-{number}",
        "model": "smollm2-135m-instruct",
        "engine": "llama.cpp",
        "state": state,
        "socket": "/run/x.sock",
        "slots": 8,
        "context_tokens": 2_048,
        "epoch": 1,
        "sealed": True,
        "pid": 4_711 + number,
        "since_s": time.time() - 7_300,
        "memory_bytes": 412_000_000,
    }
    return Replica(**(given | changes))


BROKEN = replica(
    1,
    ReplicaState.BACKING_OFF,
    pid=None,
    memory_bytes=None,
    restarts=3,
    sealed=False,
    diagnosis=Diagnosis(
        "model_damaged", "the model file is damaged", "fastness doctor", ("gguf_init: invalid magic", "exit 1")
    ),
)


def test_what_runs_is_one_line_a_replica_and_what_does_not_says_why(fastness):
    fastness.route([CHAT], [replica(0), BROKEN])
    with fastness.control():
        said = fastness.ok("ps")
        document = fastness.document("ps")
    lines = said.splitlines()
    assert lines[0].split() == [column.title for column in COLUMNS]
    good = r"smollm2-135m-instruct +1/2 +ready +- +local +llama\.cpp +4711 +412 MB +2,048 +8 +0 +2 h +nothing +yes"
    assert re.fullmatch(good, lines[1])
    assert re.fullmatch(
        r"smollm2-135m-instruct +1/2 +backing_off +- +local +llama\.cpp +- +- +2,048 +8 +3 +2 h +nothing +NO", lines[2]
    )
    assert lines[3:] == [
        "",
        "smollm2-135m-instruct-1  the model file is damaged (model_damaged)",
        "  engine said  gguf_init: invalid magic",
        "  engine said  exit 1",
        "  try          fastness doctor",
    ]
    assert [one["state"] for one in document["replicas"]] == ["ready", "backing_off"]


def test_at_80_columns_what_matters_most_stays():
    shown = [
        {"id": "a", "model": "smollm2-135m-instruct", "state": "backing_off", "engine": "llama.cpp", "pid": 123_456,
         "memory_bytes": 412_000_000, "context_tokens": 2_048, "slots": 8, "restarts": 3, "since_s": 0.0,
         "sealed": True, "deployment": "chat", "revision": 3, "node": "local"},
    ]  # fmt: skip
    lines = table(COLUMNS, rows(shown, {"a": "OFFICIAL"}, 200.0, []), 80).splitlines()
    assert len(lines) == 2
    assert {"DEPLOYMENT", "REPLICAS", "STATE", "MEM", "SINCE", "SEALED"} <= set(lines[0].split())
    assert len(table(COLUMNS, rows(shown, {"a": "OFFICIAL"}, 200.0, []), 132).splitlines()[0].split()) == len(COLUMNS)


def test_a_replica_that_is_starting_needs_no_excuse():
    assert troubles([{"id": "x", "state": "starting", "diagnosis": None}], 80) == []


def test_ps_says_that_nothing_runs(fastness):
    result = fastness("ps")
    assert result.exit_code == 5
    assert result.stderr == f"error  Nothing is running for {fastness.home}.\ntry    fastness up\n"


def test_models_are_listed_with_their_ready_replicas(fastness):
    fastness.route([CHAT], [replica(0), BROKEN])
    with fastness.control():
        lines = fastness.ok("models").splitlines()
        document = fastness.document("models")
    assert re.split(" {2,}", lines[0].strip()) == [
        "MODEL", "KIND", "READY", "CONTEXT", "SIZE", "REPLICA", "ADMITTED TO", "LICENCE", "SHA256",
    ]  # fmt: skip
    assert re.fullmatch(r"smollm2-135m-instruct +chat +1/2 +8,192 +98 MB +- +- +Apache-2\.0 +b179c952b179…", lines[1])
    assert document["models"][0]["replicas_ready"] == 1


def test_models_while_nothing_runs_point_to_up(fastness):
    result = fastness("models")
    assert result.exit_code == 0
    assert "fastness up" in result.stderr


SERVED = {
    "deployments": [{"name": "small", "ceiling": "SECRET", "model_ceiling": "OFFICIAL"}],
    "nodes": [
        {"name": "a", "jurisdiction": "GB", "operator": "crown", "owner": "GB", "ceiling": "SECRET"},
        {"name": "b", "jurisdiction": "IE", "operator": None, "owner": None, "ceiling": "OFFICIAL"},
    ],
}


def test_a_ceiling_is_one_label_or_says_whose_is_which():
    assert (
        ceiling({"model": "small", "deployment": "", "node": "a"}, SERVED)
        == "deployment SECRET, model OFFICIAL, node SECRET"
    )
    same = SERVED | {"deployments": [SERVED["deployments"][0] | {"ceiling": "OFFICIAL"}]}
    assert ceiling({"model": "small", "deployment": "", "node": "b"}, same) == "OFFICIAL"


def test_what_stands_on_no_known_node_or_deployment_may_handle_nothing():
    assert ceiling({"model": "small", "deployment": "", "node": "c"}, SERVED) == "nothing"
    assert ceiling({"model": "x", "deployment": "large", "node": "a"}, SERVED) == "nothing"


def test_nodes_say_what_was_declared_of_them_and_what_follows_when_nothing_was():
    assert places(SERVED["nodes"], 200) == [
        "",
        "node a  law GB; run by crown, owned in GB; ceiling SECRET",
        "",
        "node b  law IE; its operator is not declared, so markings that ask who owns it are refused (node.operator); "
        "ceiling OFFICIAL",
    ]


def test_what_is_decided_and_not_seen_yet_is_shown_with_what_says_why(fastness):
    placed = {"id": "chat-4", "revision": 2, "phase": "placed", "stage": "verify", "nodes": ["bristol"]}
    wanted = [{"name": "chat", "phase": "rolling", "ready": 1, "wanted": 2, "settled": False, "placed": [placed]}]
    (line,) = rows([], {}, 200.0, wanted)
    assert line[:5] == ("chat", "1/2", "verify", "2", "bristol")
    assert len(line) == len(COLUMNS)
    assert unsettled(wanted, 100) == ["", "chat  rolling, 1 of 2 replicas ready: fastness why chat"]


def test_our_own_processes_are_told_of_where_there_are_several_or_one_is_away():
    def process(name: str, state: str = "ready") -> dict[str, object]:
        return {"name": name, "pid": 7, "state": state, "restarts": 0, "since_s": 1.0}

    control, first, second = process("control"), process("gateway-0"), process("gateway-1")
    assert own([], 100) == own([control, first], 100) == []
    assert own([control, control, first, second], 100) == [
        "",
        "gateways  2 of 2 serve",
        "control   one leads; another one waits to take over",
    ]
    assert own([control, first, process("gateway-1", "backing_off")], 100)[1:] == [
        "gateways  1 of 2 serve; gateway-1 is backing_off",
        "control   one leads; nobody waits to take over",
    ]
    well, away = process("broker"), [process("broker", "stopped"), process("starter", "backing_off")]
    assert own([control, first, well], 200) == []
    assert own([control, first, *away], 200) == [
        "",
        "broker    stopped; nothing outside is fetched: no keys of issuers, and nothing of witnesses; "
        "nobody is left to bring it back: fastness stop, and start this host again",
        "",
        "starter   backing_off; no engine that has processes (vLLM) is started; those that run go on; "
        "it is being started again",
    ]
