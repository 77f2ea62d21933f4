# What a node does for one attempt: prepare, the module, commit, each in a container of its own, one after the other.
# They share folders below the task's working directory. `given/plan.sh` says how long and with which arguments.
# The log is standard output, each line with its time; `report.txt` says what became of each step.
# It needs docker, flock, setsid, timeout and tar: every image of Batch with containers has them.
set -u
here=$PWD
run=$(cat /proc/sys/kernel/random/uuid)

say() { printf '%s [ion] %s\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)" "$*"; }
note() { printf '%s\n' "$*" >>report.txt; }
fails() { # says why it cannot go on
    say "$*"
    note "trouble $(printf '%s' "$*" | tr '\n' ' ')"
    exit 125
}
d() { docker "$@" 9>&-; } # the lock is this script's alone

kills() { sed -n 's/^oom_kill //p' /proc/vmstat; }

. given/plan.sh

# Who holds this lock lives. What Batch ends at once leaves its containers running: they are ended by who waits for the
# lock, or by the next task on this node.
exec 9>lock
flock -n 9 || fails "another run of this task is still on the node"
trap 'exit 143' TERM INT HUP
setsid flock lock sh -c '
    docker ps --quiet --filter "label=ion.run=$0" | xargs -r docker stop -t "$1"
    docker ps --all --quiet --filter "label=ion.run=$0" | xargs -r docker rm --force
' "$run" "$GRACE_S" 9>&- >/dev/null 2>&1 &
for id in $(d ps --all --quiet --filter label=ion.task 2>/dev/null); do
    place=$(d inspect --format '{{index .Config.Labels "ion.task"}}' "$id" 2>/dev/null) || continue
    if [ "$place" = "$here" ] || [ ! -e "$place/lock" ] || flock -n "$place/lock" true; then d rm --force "$id" >/dev/null 2>&1; fi
done

trap 'rm -rf given' EXIT
rm -rf given.tar work told report.txt
mkdir work told
chmod 755 told
chmod 777 work # each step is a user of its own
chown -R 64199:64199 given/handler # prepare's; commit may read all
touch told/prepare told/commit
chmod 666 told/prepare told/commit

pulled() {
    d image inspect "$1" >/dev/null 2>&1 && return
    said=$(timeout "$START_S" docker pull --quiet "$1" 2>&1 9>&-) && return
    if [ $? -eq 124 ]; then said="it took longer than $START_S s"; fi
    fails "the image $1 cannot be pulled: $said"
}

# Until a container has ended. A docker that starts again meanwhile does not tell, so it is asked, for a minute.
ENDS='
    unheard=0
    while [ "$unheard" -lt 60 ]; do
        docker wait "$0" >/dev/null 2>&1
        case "$(docker inspect --format "{{.State.Running}}" "$0" 2>/dev/null)" in
            false) exit ;;
            true) unheard=0 ;;
            *) unheard=$((unheard + 1)) ;;
        esac
        sleep 1
    done
'

container() { # STEP LIMIT_S ARGUMENTS...: runs it to its end
    step=$1 limit=$2 runner=d late= before=$(kills)
    shift 2
    if [ "$step" = module ]; then runner=module_docker; fi
    name="$NAME-$step-${run%%-*}"
    "$runner" run --detach --name "$name" --label "ion.task=$here" --label "ion.run=$run" "$@" >/dev/null 2>told/error
    code=$?
    if [ "$code" -ne 0 ]; then
        note "refused $step $code $(tr '\n' ' ' <told/error)"
        say "$step could not be started: $(cat told/error)"
        return
    fi
    ( # beyond the limit nothing is written any more
        ulimit -f "$LOG_BLOCKS"
        exec docker logs --follow --timestamps "$name" 2>&1 9>&-
    ) &
    logging=$!
    timeout "$limit" sh -c "$ENDS" "$name" 9>&- &
    wait $!
    if [ $? -eq 124 ]; then
        late=late
        d stop -t "$GRACE_S" "$name" >/dev/null 2>&1
    fi
    if [ "$step" = module ]; then note "over module $(date +%s.%N)"; fi
    state=$(d inspect --format '{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}}' "$name")
    case "$late $state" in
        late*) ;;
        " false "*) ;;
        *)
            kill "$logging"
            fails "docker does not say how $step ended"
            ;;
    esac
    wait "$logging"
    state=${state#* }
    code=${state%% *} starved=${state##* }
    # not every runtime sees it: the kernel counts whom it kills for want of memory
    if [ "$code" = 137 ] && [ "$(kills)" != "$before" ]; then starved=true; fi
    note "ended $step $code $starved $late"
    d rm --force "$name" >/dev/null 2>&1
}

handler() { # STEP ARGUMENTS...
    which=$1
    shift
    container "$which" "$HANDLER_S" --read-only --tmpfs /tmp --cap-drop=ALL --security-opt=no-new-privileges \
        --volume "$here/work:/work" --volume "$here/given/handler:/run/ion:ro" --volume "$here/told/$which:/run/told" \
        --env ION_BASE_DIR=/work/ion --env ION_SEEN_AS=/ion --env ION_HANDLER_FILES=/run/ion \
        --env ION_TERMINATION_LOG=/run/told --env "ION_HOST=${AZ_BATCH_NODE_ID:-}" \
        "$@" --entrypoint=ion "$HANDLER_IMAGE" handler "$which"
    if [ -s "told/$which" ]; then note "told $which $(cat "told/$which")"; fi
    if [ "$code" != 0 ]; then exit 125; fi
}

pulled "$HANDLER_IMAGE"
pulled "$MODULE_IMAGE"
handler prepare --user=64199:64199
note "begun module $(date +%s.%N)"
module_container
if [ -n "$late" ]; then exit 124; fi
if [ "$code" != 0 ]; then exit "$code"; fi
handler commit --user=0:0 --cap-add=DAC_READ_SEARCH
