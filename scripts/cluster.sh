#!/bin/sh
# A Ray cluster for `myosu train … --cluster`: tokens required, no dashboard, no usage statistics, a small object store.
#
#   sh scripts/cluster.sh head [IP]           start the first machine; IP: its address in the private network
#   sh scripts/cluster.sh join HOST:PORT [IP]  let this machine join; needs the head's token
#   sh scripts/cluster.sh stop                leave
#   sh scripts/cluster.sh up HOSTS            start this machine as the head and, by ssh, all others in the file HOSTS
#   sh scripts/cluster.sh down HOSTS          stop them all
#
# HOSTS has one machine per line, this one first: its address in the private network, and for the others the folder that
# holds Myosu and its .venv, relative to the ssh user's home. Lines with # are comments. `up` copies the token.
#
# The token is in ~/.ray/auth_token (or RAY_AUTH_TOKEN_PATH). `head` creates it if it is missing; copy it to every
# machine. Anyone who has it can run any program on all of them. OBJECT_STORE_MB (128), PORT (6379), CORES and RAY_TMP
# can be set. Further arguments of `ray start` may follow the IP.
set -eu
RAY=${RAY:-ray}
TOKEN=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_raylet_start_wait_time_s=${RAY_raylet_start_wait_time_s:-120}
# A node that misses three health checks of 10 s each is lost: after some 40 s. By Ray's defaults it takes 66 s.
export RAY_health_check_failure_threshold=${RAY_health_check_failure_threshold:-3}
# Each idle worker process takes 50 MiB, so none are kept. There is no autoscaler (--no-monitor), and workers' logs are
# not copied to the learner's terminal (--include-log-monitor); they stay in Ray's folder.
export RAY_num_workers_soft_limit=${RAY_num_workers_soft_limit:-0}

case ${1:-} in
head) where="--head --port=${PORT:-6379} --include-dashboard=false --no-monitor${RAY_TMP:+ --temp-dir=$RAY_TMP}"; shift ;;
join) where="--address=${2:?HOST:PORT of the head}"; shift 2 ;;
stop) exec "$RAY" stop ;;
up|down)
  hosts=${2:?the file of hosts}
  [ -r "$hosts" ] || { echo "cluster.sh: cannot read the file of hosts $hosts." >&2; exit 2; }
  head='' failed=0
  while read -r address folder _ <&3; do
    case $address in ''|'#'*) continue ;; esac
    echo "$1: $address"
    if [ -z "$head" ]; then
      head=$address
      if [ "$1" = up ]; then sh "$0" head "$address" >/dev/null; else sh "$0" stop >/dev/null; fi
      continue
    fi
    say=stop
    [ "$1" = down ] || say="join $head:${PORT:-6379} $address"
    # shellcheck disable=SC2029  # expanded on this side on purpose
    { [ "$1" = down ] || ssh "$address" 'umask 077; mkdir -p .ray; cat > .ray/auth_token' <"$TOKEN"; } &&
      ssh "$address" "cd '${folder:-myosu}' && RAY=.venv/bin/ray sh scripts/cluster.sh $say" </dev/null >/dev/null ||
      { echo "cluster.sh: $address did not $say; is Myosu in its folder ${folder:-myosu}?" >&2; failed=1; }
  done 3<"$hosts"
  exit $failed ;;
*) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
if [ ! -s "$TOKEN" ]; then
  case $where in --address=*)
    echo "cluster.sh: no token in $TOKEN. Copy the head's to there (mode 600)." >&2; exit 2 ;;
  esac
  mkdir -p "$(dirname "$TOKEN")"
  (umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$TOKEN")
fi
ip=${1:-}; [ $# -eq 0 ] || shift
# shellcheck disable=SC2086  # $where is split into words on purpose
exec "$RAY" start $where ${ip:+--node-ip-address="$ip"} ${CORES:+--num-cpus="$CORES"} \
  --object-store-memory=$((${OBJECT_STORE_MB:-128} * 1048576)) --include-log-monitor=false \
  --disable-usage-stats "$@"
