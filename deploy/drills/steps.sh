# What the drills share; they source it. A step is timed, told, and written down as a row of a table.
# shellcheck shell=bash
# Needs in the environment: FASTNESS_HOME, PORT, WORK (a directory for what the drill writes).

PID=""
TRAFFIC=""
BEGAN=""
ENDED=0

say() { printf '%s\n' "$*" >&2; }
fail() { say "drill: $*"; exit 1; }

# begin; done_ STEP SEEN: the time since begin, as a row of rows.tsv and a line for people.
begin() { BEGAN=$EPOCHREALTIME; }
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }
row() {
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >> "$WORK/rows.tsv"
  say "$(printf '%-44s %7s s   %s' "$1" "$2" "$3")"
}
done_() { row "$1" "$(since "$BEGAN")" "$2"; }

# up PREFIX: start what is installed there, and return once it answers; 1, with its words in up.stderr, if it does not.
up() {
  rm -f "$WORK/up.json"
  say "--- $1" 2>> "$WORK/up.stderr"
  "$1/bin/fastness" up --json --port "$PORT" > "$WORK/up.json" 2>> "$WORK/up.stderr" &
  PID=$!
  while [ ! -s "$WORK/up.json" ]; do
    if ! kill -0 "$PID" 2> /dev/null; then
      wait "$PID" || true
      PID=""
      return 1
    fi
    sleep 0.05
  done
}

# down PREFIX: let answers finish, then end.
down() {
  "$1/bin/fastness" stop --quiet || fail "it did not stop: see $WORK/up.stderr"
  wait "$PID" || true
  PID=""
}

tree() {
  local children child
  read -ra children < <(cat /proc/"$1"/task/*/children 2> /dev/null | tr '\n' ' ') || true
  for child in "${children[@]}"; do tree "$child"; done
  echo "$1"
}

# power_off: every process at once, without a word; ENDED is how many there were. Returns when none is left.
power_off() {
  local all one
  mapfile -t all < <(tree "$PID")
  kill -9 "${all[@]}" 2> /dev/null || true
  { wait "$PID"; } 2> /dev/null || true
  for one in "${all[@]}"; do
    while [ -e "/proc/$one" ] && ! grep -q '^State:.*Z' "/proc/$one/status" 2> /dev/null; do sleep 0.02; done
  done
  PID=""
  # shellcheck disable=SC2034  # whoever sources this tells it
  ENDED=${#all[@]}
}

# make_key PREFIX: a key for the drill, into FASTNESS_API_KEY; its text is in no argument and no file.
make_key() {
  FASTNESS_API_KEY=$("$1/bin/fastness" keys create --tenant default --name "drill-$$" --quiet) || fail "no key could be made"
  export FASTNESS_API_KEY
}

# known PREFIX: what it remembers, by name; a later release may remember more, and may not have forgotten anything.
known() {
  local what
  for what in keys "policy history" models; do
    # shellcheck disable=SC2086  # two words, where it is two
    "$1/bin/fastness" $what --json 2> /dev/null | grep -oE '"(id|name|digest|version)":("[^"]*"|[0-9]+)' | sed "s/^/$what /" || true
  done | sort -u
}
remember() { known "$1" > "$WORK/known.before"; }
carried() {
  known "$1" > "$WORK/known.now"
  [ -z "$(comm -23 "$WORK/known.before" "$WORK/known.now")" ] || fail "forgotten: $(comm -23 "$WORK/known.before" "$WORK/known.now" | head -3)"
  [ "$(answer "$1")" = "$SAID" ] || fail "another answer than before"
}

answer() { "$1/bin/python" "$HERE/traffic.py" "$PORT" "$MODEL" /dev/null --once; }

traffic() {
  : >> "$WORK/heard.jsonl"
  "$1/bin/python" "$HERE/traffic.py" "$PORT" "$MODEL" "$WORK/heard.jsonl" &
  TRAFFIC=$!
}
end_traffic() {
  kill -TERM "$TRAFFIC" 2> /dev/null || true
  wait "$TRAFFIC" || fail "the clients ended with an error"
  TRAFFIC=""
}
cut_traffic() {
  kill -9 "$TRAFFIC" 2> /dev/null || true
  { wait "$TRAFFIC"; } 2> /dev/null || true
  TRAFFIC=""
}
whole() { grep -c '"whole": true' "$WORK/heard.jsonl" || true; }

# answers COUNT: wait until so many more came in full.
answers() {
  local want=$(($(whole) + $1)) limit=$((SECONDS + 180))
  while [ "$(whole)" -lt "$want" ]; do
    [ "$SECONDS" -lt "$limit" ] || fail "no $1 answers within 180 s"
    sleep 0.1
  done
}

# sound PREFIX [FILE]: the ledger is whole; its positions go into FILE.
sound() {
  "$1/bin/fastness" ledger verify --json > "${2:-$WORK/positions.json}" 2>> "$WORK/up.stderr" || fail "the ledger is not sound: $FASTNESS_HOME/ledger is evidence, keep it"
}

# backup FILE, restore FILE: as docs/how-to/install-as-a-service.md has it, secrets apart.
backup() {
  tar -C "$FASTNESS_HOME" --exclude=./run --exclude=./logs --exclude=./orders.json --exclude=./secrets -cpf "$1" .
  tar -C "$FASTNESS_HOME" -cpf "$1.secrets" secrets
}
restore() {
  install -d -m 0700 "$FASTNESS_HOME"
  tar -C "$FASTNESS_HOME" -xpf "$1.secrets"
  tar -C "$FASTNESS_HOME" -xpf "$1"
}

# unplugged "$@": go on in a network that has a loopback and nothing else; says so where the machine makes none.
unplugged() {
  [ -z "${DRILL_INSIDE:-}" ] || return 0
  local how=(unshare --net)
  [ "$(id -u)" = 0 ] || how=(unshare --user --map-root-user --net)
  if "${how[@]}" true 2> /dev/null; then
    export DRILL_INSIDE=yes
    exec "${how[@]}" "$BASH" "$0" "$@"
  fi
  say "drill: this machine makes no network of its own; going on with the one there is"
}
loopback() {
  "$1/bin/python" - << 'END'
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    name = b"lo".ljust(16, b"\0")
    (flags,) = struct.unpack_from("<H", fcntl.ioctl(any_socket, 0x8913, name + bytes(24)), 16)
    fcntl.ioctl(any_socket, 0x8914, name + struct.pack("<H22x", flags | 1))
END
}
routes() { awk 'NR > 1 && $1 != "lo"' /proc/net/route | wc -l; }

# table: the rows, as Markdown.
table() {
  echo
  echo "| step | seconds | what was seen |"
  echo "|---|---:|---|"
  awk -F'\t' '{ printf "| %s | %s | %s |\n", $1, $2, $3 }' "$WORK/rows.tsv"
}

# Whatever happens, nothing is left running.
clean_up() {
  [ -z "$TRAFFIC" ] || cut_traffic
  [ -z "$PID" ] || power_off
}
trap clean_up EXIT
