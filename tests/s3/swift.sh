# SPDX-License-Identifier: MIT
# OpenStack Swift with its s3api middleware, one node on loopback: a second S3 server, unlike the first. Sourced in place
# of gateway.sh, with functions of the same names; needs Debian's swift-proxy swift-account swift-container swift-object
# python3-keystonemiddleware memcached curl. It keeps its data in FOLDER, whose file system must have user xattrs.

gateway_missing() {
    local program
    for program in swift-proxy-server swift-account-server swift-container-server swift-object-server swift-ring-builder \
        memcached curl; do
        command -v $program >/dev/null || { echo "$program"; return 0; }
    done
    return 1
}

swift_server() {
    local at=$1 kind=$2 port=$3
    cat <<END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
user = $(id -un)
swift_dir = $at
devices = $at/devices
mount_check = false
workers = 1
[pipeline:main]
pipeline = $kind-server
[app:$kind-server]
use = egg:swift#$kind
END
}

# The account and the user of a Signature V4 key are one name with a colon in it.
swift_proxy() {
    local at=$1 port=$2 memcached=$3
    cat <<END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
user = $(id -un)
swift_dir = $at
workers = 2
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$memcached
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_lethe_lethe = lethesecret .admin
[filter:slo]
use = egg:swift#slo
END
}

# Its daemons, on what lies in the folder already.
gateway_up() {
    local at=$1 kind
    rm -f "$at"/*.pid
    memcached -l 127.0.0.1 -p "$(cat "$at/memcached.port")" -u "$(id -un)" >"$at/memcached.log" 2>&1 </dev/null &
    echo $! >"$at/memcached.pid"
    for kind in account container object proxy; do
        swift-$kind-server "$at/$kind.conf" --verbose >>"$at/$kind.log" 2>&1 </dev/null &
        echo $! >"$at/$kind.pid"
    done
    curl -sS --retry 120 --retry-connrefused --retry-delay 1 -o "$at/answer" "$AWS_ENDPOINT_URL" 2>>"$at/start.log"
}

# A key with a colon in it is no user of curl's own signing: the bucket is made as Swift names it, a container.
swift_bucket() {
    local at=$1
    curl -sS -f -D "$at/auth" -o "$at/answer" -H "X-Auth-User: $AWS_ACCESS_KEY_ID" -H "X-Auth-Key: $AWS_SECRET_ACCESS_KEY" \
        "$AWS_ENDPOINT_URL/auth/v1.0" &&
        curl -sS -f --retry 60 --retry-delay 1 -o "$at/answer" -X PUT \
            -H "$(tr -d '\r' <"$at/auth" | grep -i '^x-auth-token:')" "$AWS_ENDPOINT_URL/v1/AUTH_lethe/$LETHE_S3_BUCKET"
}

gateway_start() {
    local at=$1 ports kind i=0
    # shellcheck disable=SC2207
    ports=($(python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*[s.getsockname()[1] for s in held])'))
    mkdir -p "$at/devices/d1"
    printf '[swift-hash]\nswift_hash_path_suffix = lethe\nswift_hash_path_prefix = lethe\n' >"$at/swift.conf"
    for kind in account container object; do
        swift_server "$at" $kind "${ports[i]}" >"$at/$kind.conf"
        {
            swift-ring-builder "$at/$kind.builder" create 4 1 1
            swift-ring-builder "$at/$kind.builder" add "r1z1-127.0.0.1:${ports[i]}/d1" 1
            swift-ring-builder "$at/$kind.builder" rebalance
        } >>"$at/start.log" 2>&1
        i=$((i + 1))
    done
    GATEWAY_PORT=${ports[3]}
    echo "${ports[4]}" >"$at/memcached.port"
    swift_proxy "$at" "$GATEWAY_PORT" "${ports[4]}" >"$at/proxy.conf"
    export AWS_ENDPOINT_URL=http://127.0.0.1:$GATEWAY_PORT AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=lethe:lethe AWS_SECRET_ACCESS_KEY=lethesecret LETHE_S3_BUCKET=lethe-test
    unset AWS_SESSION_TOKEN AWS_PROFILE
    if ! gateway_up "$at" || ! swift_bucket "$at"; then
        tail -n 10 "$at/start.log" "$at"/*.log >&2
        return 1
    fi
}

# Its workers end with it.
gateway_stop() {
    local file pid
    for file in proxy object container account memcached; do
        pid=$(cat "$1/$file.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        timeout 20 tail --pid="$pid" -f /dev/null || kill -9 "$pid" || true
    done
}
