#!/usr/bin/env bash
# The black-start drill: everything is dead at once, and comes back from its own disk, then from a backup. No network.
#
#   deploy/drills/black-start.sh PREFIX HOME WORK
#
# PREFIX is where the release is installed, HOME an empty directory or, better, a restored copy of your own state, WORK a new
# directory for what the drill writes. docs/how-to/operate.md says what it shows.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
[ $# = 3 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
NEW=$(realpath "$1")
mkdir -p "$2" "$3"
FASTNESS_HOME=$(realpath "$2") WORK=$(realpath "$3")
export FASTNESS_HOME
PORT=${PORT:-18081} MODEL=${MODEL:-smollm2-135m-instruct}
# shellcheck source=deploy/drills/steps.sh
. "$HERE/steps.sh"
unplugged "$@"
loopback "$NEW"

# come_back WORDS: start, and ask what was asked before; the time of both counts from the start.
come_back() {
  local from=$EPOCHREALTIME
  up "$NEW" || fail "it does not start: see $WORK/up.stderr"
  row "$1: ready" "$(since "$from")" "every deployment has its replicas"
  [ "$(answer "$NEW")" = "$SAID" ] || fail "another answer than before"
  row "$1: first answer" "$(since "$from")" "the same as before, by the key of before"
  carried "$NEW"
}

begin
up "$NEW" || fail "it does not start: see $WORK/up.stderr"
done_ "before: start" "$("$NEW/bin/fastness" --version); routes out: $(routes)"
make_key "$NEW"
SAID=$(answer "$NEW")
remember "$NEW"
traffic "$NEW"
begin
answers 8
done_ "before: under traffic" "8 answers and more"

begin
power_off
done_ "power off" "$ENDED processes ended with kill -9, none is left"
cut_traffic
begin
sound "$NEW" "$WORK/dead.json"
done_ "dead: verify the ledger" "sound, by reading the disk"
come_back "from disk"

begin
down "$NEW"
backup "$WORK/site.tar"
sound "$NEW" "$WORK/kept.json"
done_ "back up" "$(du -sh --apparent-size "$WORK/site.tar" | cut -f1)"
mv "$FASTNESS_HOME" "$WORK/home.before"
begin
restore "$WORK/site.tar"
sound "$NEW" "$WORK/restored.json"
cmp -s "$WORK/kept.json" "$WORK/restored.json" || fail "the ledger is not the one that was backed up"
done_ "empty machine: restore and verify" "the ledger is to the byte what was backed up"
come_back "from the backup"
begin
down "$NEW"
sound "$NEW" "$WORK/after.json"
done_ "end: stop and verify the ledger" "sound"
table
