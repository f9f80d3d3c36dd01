"""Every setting with its default, its bounds and a sentence. docs/reference/configuration.md is generated from here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from fastness.scheduling.fit import CACHE_TYPES as _CACHE_TYPES


def _setting(
    default: Any, doc: str, low: float | None = None, high: float | None = None, *, one_of: tuple[str, ...] = ()
) -> Any:
    described = {"default": default, "doc": doc, "low": low, "high": high, "one_of": one_of}
    return field(default=default, metadata=MappingProxyType(described))


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The data plane's listener and its bounds."""

    host: str = _setting("127.0.0.1", "Address the OpenAI API listens on.")
    port: int = _setting(8080, "Port of the OpenAI API; 0 picks a free one.", 0, 65535)
    processes: int = _setting(
        1, "Gateways, each an event loop and a ledger log of its own; one a core. They share the port.", 1, 64
    )
    tls_certificate: str = _setting("", "PEM file with the certificate chain; with tls_key it turns TLS on.")
    tls_key: str = _setting("", "PEM file with the certificate's private key.")
    tls_client_ca: str = _setting(
        "", "PEM file with the CAs of client certificates; services known in identity.toml may then use theirs."
    )
    connections_max: int = _setting(10_000, "Open client connections; further ones are closed at once.", 1, 1_000_000)
    header_bytes_max: int = _setting(16_384, "Request line and headers together.", 1_024, 1_048_576)
    headers_max: int = _setting(64, "Number of request headers.", 4, 1_000)
    body_bytes_max: int = _setting(8_388_608, "Request body.", 1_024, 1_073_741_824)
    upload_bytes_max: int = _setting(
        67_174_400, "Body of an upload, `POST /v1/files`: a file and its form.", 1_024, 1_073_741_824
    )
    header_timeout_s: float = _setting(10.0, "From first byte to end of headers.", 0.01, 3_600)
    body_timeout_s: float = _setting(30.0, "From end of headers to end of body.", 0.01, 3_600)
    idle_timeout_s: float = _setting(75.0, "A kept-alive connection without a request.", 0.01, 86_400)
    write_timeout_s: float = _setting(60.0, "A client that takes nothing of what is sent to it.", 0.01, 3_600)
    write_buffer_bytes_max: int = _setting(
        262_144, "Unsent bytes held for one client before the engine is paused.", 4_096, 67_108_864
    )
    drain_timeout_s: float = _setting(30.0, "How long running answers may finish after SIGTERM.", 0, 3_600)


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """The control plane."""

    standbys: int = _setting(0, "Control processes that wait to take over when the one that leads ends.", 0, 3)
    silence_max_s: float = _setting(
        10.0, "After so long without an answer the control process that leads is ended: it hangs.", 1.0, 600
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Bounds on one request."""

    messages_max: int = _setting(2_048, "Messages in a chat.", 1, 1_000_000)
    choices_max: int = _setting(16, "`n`, times the number of prompts of a completion.", 1, 1_024)
    stop_max: int = _setting(4, "Stop sequences.", 0, 64)
    stop_bytes_max: int = _setting(256, "One stop sequence, in UTF-8.", 1, 65_536)
    output_tokens_max: int = _setting(1_048_576, "`max_tokens` or `max_completion_tokens`.", 1, 100_000_000)
    tools_max: int = _setting(128, "Tools of one request.", 0, 4_096)
    tool_calls_max: int = _setting(16, "Tool calls in one answer.", 1, 128)
    schema_bytes_max: int = _setting(65_536, "One JSON schema.", 64, 16_777_216)
    schema_depth_max: int = _setting(16, "Nesting of one JSON schema.", 1, 256)
    schema_nodes_max: int = _setting(2_000, "Objects and arrays in one JSON schema.", 1, 1_000_000)
    inputs_max: int = _setting(2_048, "Texts in one embeddings request.", 1, 65_536)
    logit_bias_max: int = _setting(1_024, "Entries of `logit_bias`.", 0, 100_000)
    metadata_max: int = _setting(16, "Pairs of `metadata`.", 0, 1_024)


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """How many requests may run and wait."""

    queue_max: int = _setting(1_024, "Generations waiting for a slot, per model; beyond it: 429.", 0, 1_000_000)
    tenant_queue_percent: int = _setting(
        75, "Part of queue_max that one tenant may fill; when several flood, each gets less. 100: no bound.", 1, 100
    )
    queue_timeout_s: float = _setting(60.0, "Longest wait for a slot.", 0.01, 3_600)
    engine_queue: int = _setting(
        2,
        "Generations sent to a replica beyond its slots, so that none idles; to a llama.cpp chat model none is.",
        0,
        256,
    )
    unread_tokens_max: int = _setting(
        512,
        "Prompt tokens sent to a replica and not read yet; more waits in the fair queue. 0: no bound.",
        0,
        10_000_000,
    )
    first_token_timeout_s: float = _setting(120.0, "From dispatch to an engine until its first token.", 0.01, 3_600)
    progress_timeout_s: float = _setting(30.0, "Between two tokens of a stream.", 0.01, 3_600)
    answer_timeout_s: float = _setting(600.0, "A whole answer.", 0.01, 86_400)
    attempts_max: int = _setting(3, "Tries of a generation in a row without a token; then its failure is told.", 1, 16)
    resume_timeout_s: float = _setting(
        30.0, "Longest wait of a generation whose engine failed for a replica that goes on.", 0.01, 3_600
    )
    retry_percent: int = _setting(20, "Retries allowed for a hundred generations that succeed, per model.", 0, 100)
    retry_floor_per_s: float = _setting(1.0, "Retries allowed each second beside these.", 0, 10_000)
    retry_burst: int = _setting(
        128, "Retries that can be saved up; one engine's end may need as many as it has slots.", 0, 100_000
    )
    hedge_after_min_s: float = _setting(
        0.1, "Where hedging is allowed: nothing is late to begin before; else the 95th percentile decides.", 0.001, 600
    )
    hedge_after_max_s: float = _setting(5.0, "By then everything is late to begin.", 0.001, 600)
    circuit_failures: int = _setting(3, "Failures in a row after which a replica gets nothing for a while.", 1, 1_000)
    circuit_open_s: float = _setting(1.0, "For how long at first; it doubles with each failure after.", 0.001, 3_600)
    circuit_open_max_s: float = _setting(30.0, "For how long at most.", 0.001, 3_600)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Files and batches, which are kept sealed."""

    file_bytes_max: int = _setting(67_108_864, "One uploaded file.", 1_024, 1_073_741_824)
    files_max: int = _setting(1_000, "Files of one tenant, outputs included.", 1, 100_000)
    tenant_bytes_max: int = _setting(
        4_294_967_296, "All files of one tenant, outputs included; beyond it nothing can be uploaded.", 1_024
    )
    file_lifetime_s: int = _setting(
        2_592_000, "The longest that a file is kept, and the default; ended batches likewise.", 3_600, 315_360_000
    )
    batches_max: int = _setting(64, "Batches of one tenant that have not ended.", 1, 10_000)
    lines_max: int = _setting(50_000, "Lines of one batch.", 1, 1_000_000)
    line_bytes_max: int = _setting(1_048_576, "One line of a batch.", 64, 67_108_864)
    concurrency: int = _setting(8, "Lines under way at the same time, of all batches together.", 1, 1_024)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the embedded engine is run."""

    chat_model: str = _setting("smollm2-135m-instruct", "Model that answers chats and completions; empty for none.")
    embedding_model: str = _setting("minilm-l6-v2", "Model that embeds; empty for none.")
    replicas: int = _setting(1, "Replicas of the chat model.", 1, 64)
    ceiling: str = _setting("OFFICIAL", "The highest marking, with caveats, that these deployments may handle.")
    slots: int = _setting(8, "Answers one chat replica makes at the same time.", 1, 256)
    slot_context_tokens: int = _setting(2_048, "Context of each slot; more costs memory.", 128, 1_048_576)
    cache_type: str = _setting(
        "f16", "How keys and values are stored; less takes less memory.", one_of=tuple(_CACHE_TYPES)
    )
    threads: int = _setting(
        0, "Threads of an engine; 0 takes the usable cores but one, which the gateway needs.", 0, 1_024
    )
    start_timeout_s: float = _setting(60.0, "From launch to ready.", 0.1, 3_600)
    stop_timeout_s: float = _setting(5.0, "From SIGTERM to SIGKILL.", 0, 600)
    backoff_first_s: float = _setting(
        0.2, "Wait before the first restart of a crashed engine; doubles each time.", 0, 60
    )
    backoff_max_s: float = _setting(30.0, "Longest wait before a restart.", 0, 3_600)
    memory_bytes_max: int = _setting(0, "Address-space limit of an engine; 0 derives one from its model.", 0)
    open_files_max: int = _setting(1_024, "Open files of an engine (an rlimit).", 64, 1_048_576)
    vllm_python: str = _setting("", "Interpreter of the Python environment that has vLLM; empty: this node has none.")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """This machine: whose law it stands under, who runs and owns it, and the most that it may handle."""

    name: str = _setting("local", "Name of this node.")
    jurisdiction: str = _setting("GB", "Code of the jurisdiction that it stands under, as the profile lists them.")
    operator: str = _setting(
        "", "Who runs it: an id of the profile's operators; empty is undeclared, which higher markings refuse."
    )
    ceiling: str = _setting("OFFICIAL", "The highest marking, with caveats, that may be handled here.")
    pool: str = _setting("default", "Pool of nodes that it belongs to; shares of devices are counted in a pool.")
    domain: str = _setting("", "What fails together with it (a rack, a site); empty: the node by itself.")
    labels: str = _setting("", "What deployments may ask for: key=value or key, separated by commas.")
    devices: str = _setting(
        "", "Accelerators, such as 8xh100-80gb:80GB, separated by commas; empty: what NVML finds; none."
    )
    cpu_slots: int = _setting(0, "Replicas that run on the processor; 0: four a core where no GPU is.", 0, 4_096)
    memory_bytes: int = _setting(0, "Memory for engines; 0 derives it from what the machine or its cgroup has.", 0)


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Markings and rules."""

    profile: str = _setting("uk", "Profile of the first start: the name of a shipped one, or a TOML file.")
    decisions_max: int = _setting(65_536, "Decisions a gateway remembers.", 16, 16_777_216)


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What may become a model here."""

    two_approvers_above: str = _setting("OFFICIAL", "Admission for a ceiling above this marking needs two approvers.")
    signature_above: str = _setting(
        "OFFICIAL", "Admission for a ceiling above this marking needs a signature of a trusted signer."
    )
    artefact_bytes_max: int = _setting(1_099_511_627_776, "All files of one model or adapter.", 1_024)
    files_max: int = _setting(1_024, "Files of one model, adapter or bundle.", 1, 1_000_000)
    inspection_timeout_s: float = _setting(60.0, "Reading the headers of an artefact, sealed.", 0.1, 3_600)
    inspection_memory_bytes_max: int = _setting(
        1_073_741_824, "Address space of that process.", 268_435_456, 1_099_511_627_776
    )
    template_bytes_max: int = _setting(131_072, "One chat template.", 64, 16_777_216)
    template_timeout_s: float = _setting(2.0, "Rendering a chat template once, in processor time.", 0.01, 600)
    bundle_age_s_max: int = _setting(7_776_000, "Age at which a bundle is too old to be taken over.", 60)


@dataclass(frozen=True, slots=True)
class PerimeterSettings:
    """What the installation may speak to."""

    addresses: str = _setting(
        "", "Where it may connect to: host:port, separated by spaces. Empty: nowhere outside itself."
    )


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Tokens and certificates beside API keys."""

    file: str = _setting("", "TOML file with trusted issuers and services; empty: identity.toml in FASTNESS_HOME.")
    clock_skew_s: int = _setting(30, "How far an issuer's clock may be off.", 0, 3_600)
    token_bytes_max: int = _setting(8_192, "One access token.", 256, 65_536)
    tokens_max: int = _setting(16_384, "Verified tokens that a gateway remembers until they expire.", 16, 16_777_216)
    refresh_s: int = _setting(300, "How often the keys of issuers are fetched.", 1, 86_400)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where tenants, keys, policies, admissions and limits are kept."""

    url: str = _setting(
        "", "PostgreSQL on a Unix socket: postgresql://USER@/DATABASE?host=/DIRECTORY. Empty: SQLite in FASTNESS_HOME."
    )


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Hosts that work together: where their doors listen, and for how long they are certified."""

    address: str = _setting("", "Address that this host's door listens on; empty: those of its certificate.")
    port: int = _setting(7443, "Port of the doors, the same on every host.", 1, 65_535)
    certificate_lifetime_s: int = _setting(
        31_536_000, "How long a host's certificate counts; an invitation renews it.", 3_600, 315_360_000
    )
    authority_lifetime_s: int = _setting(
        315_360_000, "How long the installation's own authority counts; then a new cluster.", 86_400, 1_576_800_000
    )


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Ray, which carries letters between the hosts of a cluster."""

    address: str = _setting(
        "", "Address of the head, where its Ray listens; on the head itself too. Empty on the head: this machine alone."
    )
    port: int = _setting(
        6379, "First of 20 ports in a row that Ray uses, the same on every host; the first is the head's.", 1, 65_516
    )
    lease_s: float = _setting(
        3.5,
        "After so long without a word from the head a node ends its engines; the same on every host. Half a second "
        "later it is lost, and its replicas are placed elsewhere.",
        1.0,
        3_600,
    )


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """The record behind every answer."""

    batch_entries_max: int = _setting(1_024, "Entries made durable by one fsync.", 1, 65_536)
    queue_entries_max: int = _setting(
        65_536, "Entries waiting to be written; beyond it requests are refused.", 1, 10_000_000
    )
    segment_bytes_max: int = _setting(
        67_108_864, "A log file is closed and a new one begun at this size.", 65_536, 1_099_511_627_776
    )
    origin: str = _setting(
        "", "This installation in the names of its logs, such as ai.example.gov. A log keeps the one it began with."
    )
    checkpoint_interval_s: float = _setting(1.0, "Signed checkpoints are at least so long apart.", 0.01, 3_600)
    hashes_for: str = _setting(
        "auditors",
        "Who gets checkpoints and hashes of the logs at a gateway: everybody needs no key. Entries are for auditors.",
        one_of=("auditors", "everybody"),
    )
    receipt_days: int = _setting(
        400, "For how many days the salts of an answer can be had whose content nobody keeps.", 1, 36_500
    )
    witness_policy: str = _setting(
        "", "File with witnesses, where they are, and how many must cosign (C2SP tlog-policy). Empty: no witnesses."
    )
    witness_interval_s: float = _setting(10.0, "How often checkpoints are submitted to witnesses.", 0.05, 86_400)
    witness_grace_s: float = _setting(
        0.0, "How long answers go on while too few witnesses cosign; 0: for ever, and receipts say so.", 0, 31_536_000
    )


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Content that a department chose to keep, sealed."""

    store_bytes_max: int = _setting(
        68_719_476_736, "All sealed content here; beyond it whoever wants it kept is refused.", 1_048_576
    )
    segment_bytes_max: int = _setting(
        67_108_864, "A file of sealed content is closed and a new one begun at this size.", 65_536, 1_099_511_627_776
    )
    waiting_bytes_max: int = _setting(
        268_435_456, "Content waiting for the disk at one gateway; beyond it requests are refused.", 1_048_576
    )
    disclosure_s: int = _setting(
        3_600, "For how long after it was asked content may be opened, once approved.", 60, 2_592_000
    )
    keys: str = _setting(
        "files", "Where the tenants' keys are: in files, or in a token by PKCS#11.", one_of=("files", "pkcs11")
    )
    pkcs11_module: str = _setting("", "Path of the PKCS#11 module of the token.")
    pkcs11_token: str = _setting("", "Label of the token.")
    pkcs11_pin_file: str = _setting("", "File with the PIN of the token's user; nobody else may read it.")


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Logs."""

    log_level: str = _setting(
        "info", "The least severe record that is kept.", one_of=("debug", "info", "warning", "error")
    )
    log_bytes_max: int = _setting(16_777_216, "Size at which a log file is rotated.", 4_096, 1_099_511_627_776)
    log_files_max: int = _setting(4, "Rotated log files kept for each process.", 1, 1_000)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole tree. `home` is FASTNESS_HOME: all state lives below it."""

    home: Path
    gateway: GatewaySettings = GatewaySettings()
    control: ControlSettings = ControlSettings()
    limits: LimitSettings = LimitSettings()
    traffic: TrafficSettings = TrafficSettings()
    batch: BatchSettings = BatchSettings()
    engine: EngineSettings = EngineSettings()
    node: NodeSettings = NodeSettings()
    policy: PolicySettings = PolicySettings()
    registry: RegistrySettings = RegistrySettings()
    perimeter: PerimeterSettings = PerimeterSettings()
    identity: IdentitySettings = IdentitySettings()
    store: StoreSettings = StoreSettings()
    cluster: ClusterSettings = ClusterSettings()
    ray: RaySettings = RaySettings()
    ledger: LedgerSettings = LedgerSettings()
    retention: RetentionSettings = RetentionSettings()
    telemetry: TelemetrySettings = TelemetrySettings()


SECTIONS: Final = tuple(item.name for item in fields(Settings) if item.name != "home")
"""The names of the sections."""
