# shellcheck shell=bash
# Shared by tests/demo and tests/run: what they install, how they build, how they show progress. Sourced by bash.
# The caller has set `top` to the checkout.

packages=(
    # to build
    gcc clang libc6-dev cmake ninja-build pkg-config git ccache
    libzmq3-dev libsodium-dev libmsgpack-dev libyaml-dev libssl-dev libjansson-dev libseccomp-dev
    libcmocka-dev
    libclang-rt-14-dev clang-format clang-tidy scdoc spin zsh fish tmux dpkg-dev lintian valgrind
    # to raise hosts
    python3 python3-yaml python3-cryptography iproute2 util-linux kmod procps
    gnupg iptables nftables conntrack ebtables ethtool socat iputils-ping curl openssl ca-certificates
)
# shellcheck disable=SC2034,SC2154 # for and from the caller
build="$top/build-dev"
logs=

# What five builds with other flags compile is kept outside the checkout, for the next run in a new one.
export CMAKE_C_COMPILER_LAUNCHER=ccache
export CCACHE_BASEDIR=$top CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=1G
[ "$(id -u)" != 0 ] || export CCACHE_DIR=/var/cache/kpeer-ccache

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Between two looks at a condition. What is read never comes; nothing is started for it, which the tests would feel.
exec {never}<> <(:)
pause() { read -r -t "$1" -u "$never" || true; }

# Microseconds; and how they are shown.
now() { echo "${EPOCHREALTIME/./}"; }
seconds() { printf '%d.%d' $(($1 / 1000000)) $(($1 / 100000 % 10)); }

make_logs() { logs=$(mktemp -d "${TMPDIR:-/tmp}/kpeer-logs.XXXXXX"); }

# ---- what runs, and its end by ^C ----

# The process group of what is under way; what is not to be broken off within it.
group='' unbreakable=''

# Runs a command and waits for it. It has a process group of its own, so that ^C comes to this shell alone, which passes it
# on and waits: whoever has begun something undoes it.
attend() {
    local status=0
    start "$@"
    wait "$group" || status=$?
    group=''
    return "$status"
}
start() {
    set -m
    "$@" < /dev/null {never}>&- &
    group=$!
    set +m
}

# Whether anything of it still runs; what has ended and was not waited for does not count.
group_runs() {
    awk -v group="$group" '{ sub(/.*\) /, ""); if ($3 == group && $1 != "Z") found = 1 } END { exit !found }' \
        < <(cat /proc/[0-9]*/stat 2> /dev/null)
}

# Ends what is under way, the gentle way first.
stop_group() {
    local signal end
    [ -n "$group" ] || return 0
    for signal in INT TERM KILL; do
        [ -n "$unbreakable" ] || kill -s "$signal" -- "-$group" 2> /dev/null || true
        end=$((SECONDS + 30))
        while group_runs && { [ "$SECONDS" -lt "$end" ] || [ -n "$unbreakable" ]; }; do
            pause 0.1
        done
    done
    group=''
}

# catch_signals TEXT: ^C and its like end the script with 130 after what is under way has ended, and after its EXIT trap.
catch_signals() {
    # shellcheck disable=SC2064 # the text is known now
    trap "interrupted '$1'" INT TERM HUP
}
interrupted() {
    trap '' INT TERM HUP PIPE
    [ ! -t 1 ] || printf '\r\033[K' || true
    say "interrupted: ${unbreakable:-$1}" 2> /dev/null || true
    stop_group
    exit 130
}

# ---- progress ----

columns() { # of the terminal
    local size
    size=$(stty size <&1 2> /dev/null) || size="24 80"
    echo "${size#* }"
}

# spin LABEL LOG: one picture of the moving line, never wider than the terminal.
spin() {
    local mark="|/-\\" line
    line=$(tail -c 300 "$2" | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]')
    line="${mark:spins++ % 4:1} $1 $(seconds "$took") s  $line"
    printf '\r%s\033[K' "${line:0:width - 1}"
}

# step LABEL COMMAND...: runs it with its output kept, shows that it goes on, and on failure shows the end of the output.
# `took` holds its time in microseconds afterwards.
took=0
step() {
    local label=$1 log="$logs/step" began status=0 shown=0 spins=0 width
    shift
    began=$(now)
    width=$(columns)
    start "$@" > "$log" 2>&1
    while kill -0 "$group" 2> /dev/null; do
        took=$((${EPOCHREALTIME/./} - began))
        if [ -t 1 ]; then
            spin "$label" "$log"
        elif [ $((took / 20000000)) -gt "$shown" ]; then
            shown=$((took / 20000000))
            printf '  %s: %s s … %s\n' "$label" "$((took / 1000000))" "$(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-80)"
        fi
        pause 0.2
    done
    wait "$group" || status=$?
    group=''
    took=$(($(now) - began))
    [ ! -t 1 ] || printf '\r\033[K'
    if [ "$status" = 0 ]; then
        printf '  %-44s %7s s\n' "$label" "$(seconds "$took")"
    else
        printf '  %-44s failed (status %s) after %s s\n' "$label" "$status" "$(seconds "$took")"
        tail -n "${STEP_LINES:-30}" "$log" | sed 's/^/    /'
    fi
    return "$status"
}

# ---- getting ready ----

missing_packages() {
    local p
    for p in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$p" 2> /dev/null | grep -q 'ok installed' || echo "$p"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "packages are missing: sudo apt-get install --no-install-recommends ${missing[*]}"
    step "apt-get update" apt-get -q update || return 1
    unbreakable="letting apt finish what it has begun"
    step "install packages (${#missing[@]})" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends "${missing[@]}" || { unbreakable=''; return 1; }
    unbreakable=''
}

# build_preset PRESET: configures and builds it.
build_preset() {
    step "configure $1" cmake -S "$top" --preset "$1" && step "build $1" cmake --build "$top/build-$1"
}

# What root has built in somebody's checkout is theirs: they can build, test and remove it afterwards.
give_back() {
    local owner folder
    owner=$(stat -c %u:%g "$top")
    [ "$(id -u)" = 0 ] && [ "${owner%:*}" != 0 ] || return 0
    for folder in "$top"/build-* "$top"/tests; do
        [ ! -d "$folder" ] || find "$folder" -xdev -uid 0 -exec chown -h "$owner" {} +
    done
}
