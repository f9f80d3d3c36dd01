#!/usr/bin/env bash
# The upgrade drill: from one release to another under traffic, back, and forward again.
#
#   deploy/drills/upgrade.sh OLD NEW HOME WORK
#
# OLD and NEW are prefixes with a release each (/opt/fastness-0.1.0), HOME an empty directory or, better, a restored copy of
# your own state, WORK a new directory for what the drill writes. docs/how-to/operate.md says what it shows.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
[ $# = 4 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
OLD=$(realpath "$1") NEW=$(realpath "$2")
mkdir -p "$3" "$4"
FASTNESS_HOME=$(realpath "$3") WORK=$(realpath "$4")
export FASTNESS_HOME
PORT=${PORT:-18080} MODEL=${MODEL:-smollm2-135m-instruct}
# shellcheck source=deploy/drills/steps.sh
. "$HERE/steps.sh"

# switch FROM TO WORDS: end one release and start the other on the same state; 1 if the other does not start.
switch() {
  begin
  down "$1"
  done_ "$3: drain and stop" "answers that ran have come to their end"
  begin
  up "$2" || return 1
  done_ "$3: start" "ready"
}

under() {
  begin
  answers 12
  done_ "$2: under traffic" "$("$1/bin/fastness" --version); 12 answers and more"
}

begin
up "$OLD" || fail "$OLD does not start: see $WORK/up.stderr"
done_ "old: start" "$("$OLD/bin/fastness" --version)"
make_key "$OLD"
SAID=$(answer "$OLD")
remember "$OLD"
traffic "$NEW"
under "$OLD" "old"

begin
down "$OLD"
done_ "upgrade: drain and stop" "answers that ran have come to their end"
begin
backup "$WORK/before.tar"
sound "$OLD" "$WORK/before.json"
done_ "upgrade: back up" "$(du -sh --apparent-size "$WORK/before.tar" | cut -f1); ledger sound"
begin
up "$NEW" || fail "$NEW does not start on this state: see $WORK/up.stderr"
done_ "upgrade: start" "ready"
carried "$NEW"
under "$NEW" "new"

if ! switch "$NEW" "$OLD" "back"; then
  say "drill: the old release refuses the state of the new one; it goes back to the backup"
  begin
  mv "$FASTNESS_HOME" "$WORK/home.new"
  restore "$WORK/before.tar"
  up "$OLD" || fail "$OLD does not start on its backup: see $WORK/up.stderr"
  done_ "back: restore and start" "the ledger of the time between is in home.new"
fi
carried "$OLD"
under "$OLD" "old again"

switch "$OLD" "$NEW" "forward" || fail "$NEW does not start on what the old release left: see $WORK/up.stderr"
carried "$NEW"
under "$NEW" "new again"
end_traffic
begin
down "$NEW"
sound "$NEW" "$WORK/after.json"
done_ "end: stop and verify the ledger" "sound"

lost=$(grep -c '"began": true.*"whole": false' "$WORK/heard.jsonl" || true)
never=$(grep -c '"began": false' "$WORK/heard.jsonl" || true)
longest=$(sed 's/.*"waited_s": \([0-9.]*\).*/\1/' "$WORK/heard.jsonl" | sort -n | awk 'END { printf "%.1f", $1 }')
row "clients, all along" "$longest" "$(whole) answers; $lost lost after they began, $never never answered; the time is the longest wait"
table
[ "$lost" = 0 ] && [ "$never" = 0 ]
