# shellcheck shell=bash
# Shared by tests/demo and tests/run: what they install, how they build, how they show progress. Sourced by bash.
# The caller has set `top` to the checkout.

packages=(
    # to build
    gcc clang libc6-dev cmake ninja-build pkg-config git
    libzmq3-dev libsodium-dev libmsgpack-dev libyaml-dev libssl-dev libjansson-dev libcmocka-dev
    libclang-rt-14-dev clang-format clang-tidy scdoc
    # to raise hosts
    python3 python3-yaml python3-cryptography iproute2 util-linux kmod procps
    iptables conntrack ebtables ethtool socat iputils-ping curl openssl ca-certificates
)
# shellcheck disable=SC2034,SC2154 # for and from the caller
build="$top/build-dev"
logs=

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Between two looks at a condition.
pause() { read -r -t "$1" <> <(:) || true; }

# Microseconds; and how they are shown.
now() { echo "${EPOCHREALTIME/./}"; }
seconds() { printf '%d.%d' $(($1 / 1000000)) $(($1 / 100000 % 10)); }

make_logs() { logs=$(mktemp -d "${TMPDIR:-/tmp}/kpeer-logs.XXXXXX"); }

# step LABEL COMMAND...: runs it with its output kept, shows that it goes on, and on failure shows the end of the output.
# `took` holds its time in microseconds afterwards.
took=0
step() {
    local label=$1 log="$logs/step" began pid status=0 shown=0 mark='|/-\' i=0
    shift
    began=$(now)
    "$@" > "$log" 2>&1 < /dev/null &
    pid=$!
    while kill -0 "$pid" 2> /dev/null; do
        took=$(($(now) - began))
        if [ -t 1 ]; then
            printf '\r%s %s  %s s  %.60s\033[K' "${mark:i++ % 4:1}" "$label" "$(seconds "$took")" \
                "$(tail -c 300 "$log" | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]')"
        elif [ $((took / 20000000)) -gt "$shown" ]; then
            shown=$((took / 20000000))
            printf '  %s: %s s … %s\n' "$label" "$((took / 1000000))" "$(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-80)"
        fi
        pause 0.2
    done
    wait "$pid" || status=$?
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
    [ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: ${missing[*]}"
    step "apt-get update" apt-get -q update || return 1
    step "install ${#missing[@]} packages" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends "${missing[@]}"
}

# build_preset PRESET: configures and builds it.
build_preset() {
    step "configure $1" cmake -S "$top" --preset "$1" && step "build $1" cmake --build "$top/build-$1"
}
