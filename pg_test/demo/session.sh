# shellcheck shell=bash
# Several psql sessions side by side. Each statement is printed, sent, answered in full, and its outcome compared with
# what the story says.

if [ -t 1 ]; then
  HEAD=$'\e[1;36m' NOTE=$'\e[2m' STATEMENT=$'\e[1m' GOOD=$'\e[32m' NORMAL=$'\e[0m'
else
  HEAD='' NOTE='' STATEMENT='' GOOD='' NORMAL=''
fi

# A statement for a session that has ended must not end this script too.
trap '' PIPE

declare -A SESSION_IN SESSION_OUT SESSION_PID
# What the last statement answered.
ANSWER='' STATE='' ENDED=''

heading() { printf '\n\n%s===== %s =====%s\n' "$HEAD" "$*" "$NORMAL"; }
note() { printf '\n%s-- %s%s\n' "$NOTE" "$*" "$NORMAL"; }
verdict() { printf '%s   [%s]%s\n' "$GOOD" "$*" "$NORMAL"; }

pause() {
  if [ -t 0 ] && [ -t 1 ] && [ "${DEMO_PAUSE:-1}" != 0 ]; then
    printf '\n%s-- Enter goes on%s%s ' "$NOTE" "${1:+ ($1)}" "$NORMAL"
    read -r || true
  fi
}

surprise() {
  printf '\n' >&2
  die 'the demo met a surprise' "expected: $1" "met:      $2"
}

# open_session NAME URI
open_session() {
  local name=$1 in out
  mkfifo "$DEMO/$name.in" "$DEMO/$name.out"
  # Line by line, so that errors and results arrive in the order in which they happened.
  stdbuf -oL -eL "$PSQL" -X -P pager=off "$2" <"$DEMO/$name.in" >"$DEMO/$name.out" 2>&1 &
  SESSION_PID[$name]=$!
  exec {in}>"$DEMO/$name.in" {out}<"$DEMO/$name.out"
  SESSION_IN[$name]=$in SESSION_OUT[$name]=$out
  rm "$DEMO/$name.in" "$DEMO/$name.out"
  if [ "$name" != dba ]; then
    printf '\n%s$ psql "%s"%s\n' "$STATEMENT" "$2" "$NORMAL"
  fi
  send "$name" ''
  if [ -n "$ENDED" ]; then surprise 'a login' "$ANSWER"; fi
}

close_session() {
  local in=${SESSION_IN[$1]} out=${SESSION_OUT[$1]}
  # Said, not only shown by closing: other sessions have inherited the other end.
  { printf '\\q\n' >&"$in"; } 2>/dev/null || true
  exec {in}>&- {out}<&-
  wait "${SESSION_PID[$1]}" || true
}

# send NAME TEXT: sets ANSWER, STATE (00000 when all is well) and ENDED (set when the session is over).
send() {
  local name=$1 line
  ANSWER='' STATE='' ENDED=''
  # A session that is over is noticed below, when it answers no more.
  { printf '%s\n\\echo @done :SQLSTATE\n' "$2" >&"${SESSION_IN[$name]}"; } 2>/dev/null || true
  while true; do
    if ! IFS= read -r -t 60 line <&"${SESSION_OUT[$name]}"; then
      ENDED=yes
      break
    fi
    if [[ $line == '@done '* ]]; then
      STATE=${line#@done }
      break
    fi
    # Where in PostgreSQL's source that is says nothing here.
    if [[ $line == LOCATION:* ]]; then continue; fi
    ANSWER+=$line$'\n'
  done
}

# keep NAME VARIABLE VALUE: a psql variable, for what would be too long or too secret to show.
keep() { send "$1" "\\set $2 '$3'"; }

show() {
  local prompt="$1=> "
  if [ "$1" = dba ]; then prompt="$1=# "; fi
  printf '\n%s%s%s%s\n%s' "$prompt" "$STATEMENT" "$2" "$NORMAL" "${ANSWER/%$'\n\n'/$'\n'}"
}

# works NAME STATEMENT [PATTERN [NOT_PATTERN]]
works() {
  send "$1" "$2"
  show "$1" "$2"
  [ "$STATE" = 00000 ] || surprise 'success' "SQLSTATE ${STATE:-none, the session ended}"
  if [ -n "${3:-}" ]; then matches "$3"; fi
  if [ -n "${4:-}" ] && [[ $ANSWER =~ $4 ]]; then surprise "nothing about $4" 'the answer above'; fi
}

# refused NAME SQLSTATE STATEMENT [PATTERN]
refused() {
  send "$1" "$3"
  show "$1" "$3"
  [ "$STATE" = "$2" ] || surprise "a refusal with SQLSTATE $2" "SQLSTATE ${STATE:-none, the session ended}"
  if [ -n "${4:-}" ]; then matches "$4"; fi
  verdict "refused, as it must be: SQLSTATE $STATE"
}

matches() {
  local flat=${ANSWER//$'\n'/ }
  [[ $flat =~ $1 || $flat =~ ${1/rows/row} ]] || surprise "an answer with \"$1\"" 'the answer above'
}

# field NAME: from the expanded answer of \gx.
field() { sed -n "s/^$1 *| //p" <<<"$ANSWER"; }

# no_login URI PASSWORD PATTERN
no_login() {
  local answer
  printf '\n%s$ psql "%s"%s\n' "$STATEMENT" "$1" "$NORMAL"
  if answer=$(PGPASSWORD=$2 "$PSQL" -X "$1" -c 'SELECT 1' 2>&1 </dev/null); then
    surprise 'no login' "$answer"
  fi
  printf '%s\n' "$answer"
  [[ $answer =~ $3 ]] || surprise "an answer with \"$3\"" 'the answer above'
  verdict 'refused, as it must be'
}

# watch_end NAME STATEMENT: repeats it until the server ends the session.
watch_end() {
  local name=$1 statement=$2 start=$SECONDS
  # Verbose errors name the SQLSTATE, also of the one that ends a session.
  send "$name" '\set VERBOSITY verbose'
  send "$name" "$statement"
  show "$name" "$statement"
  if [ -z "$ENDED" ]; then
    send "$name" '\t on'
  else
    note 'The deadline had passed while you were reading.'
  fi
  while [ -z "$ENDED" ]; do
    if ((SECONDS - start > 30)); then surprise 'the end of a session whose deadline has passed' 'it still reads'; fi
    sleep 1
    send "$name" "$statement"
    printf '%s' "${ANSWER/%$'\n\n'/$'\n'}"
  done
  matches '57P01: terminating connection'
  verdict 'ended by the server: SQLSTATE 57P01'
  close_session "$name"
}

# wait_until_gone ROLE: dropping it is the worker's last step, a moment after the session's end.
wait_until_gone() {
  local _
  for _ in {1..50}; do
    if [ -z "$("$PSQL" -XAt "$DBA_URI" -c "SELECT 1 FROM pg_roles WHERE rolname = '$1'")" ]; then return; fi
    sleep 0.2
  done
  surprise "the role $1 dropped within 10 seconds of its deadline" 'it is still there'
}
