# SPDX-License-Identifier: MIT
# A Ceph RADOS Gateway of one node on loopback: the reference among S3 servers. Sourced; needs Debian's
# ceph-mon ceph-osd radosgw ceph-common curl. gateway_start FOLDER [memstore|bluestore] chooses free ports, sets the
# AWS_* variables, LETHE_S3_BUCKET and GATEWAY_PORT, and shows its logs where it does not start; gateway_stop FOLDER
# ends it, by the pids that its daemons wrote. bluestore keeps its data in FOLDER: gateway_kill FOLDER is a power cut,
# after which gateway_up FOLDER starts the same server again.

gateway_missing() {
    local program
    for program in ceph-mon ceph-osd radosgw radosgw-admin monmaptool ceph curl; do
        command -v $program >/dev/null || { echo "$program"; return 0; }
    done
    return 1
}

gateway_config() {
    local at=$1 store=$2 fsid=$3 port=$4 monitor="[v2:127.0.0.1:$5,v1:127.0.0.1:$6]"
    cat <<END
[global]
fsid = $fsid
mon host = $monitor
public addr = 127.0.0.1
ms bind ipv6 = false
# Without this the gateway finds no monitor that offers what it asks for.
ms mon client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
# One node holds the only copy.
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon data avail crit = 1
osd objectstore = $store
memstore device bytes = 4294967296
bluestore block size = 8589934592
osd memory target = 939524096
mon data = $at/mon
osd data = $at/osd
rgw data = $at
rgw frontends = beast endpoint=127.0.0.1:$port
rgw thread pool size = 64
run dir = $at
pid file = $at/\$type.\$id.pid
admin socket = $at/\$name.asok
log file = $at/\$name.log
mon cluster log file = $at/cluster.log
END
}

# An authenticated request that needs nothing of lethefs.
gateway_curl() {
    curl -sS --aws-sigv4 "aws:amz:us-east-1:s3" -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
        -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" "$@"
}

# Its daemons, on what lies in the folder already.
gateway_up() {
    local at=$1
    {
        ceph-mon -i a
        ceph-osd -i 0
        radosgw -n client.rgw
        curl -sS --retry 120 --retry-connrefused --retry-delay 1 -o "$at/answer" "$AWS_ENDPOINT_URL"
    } >>"$at/start.log" 2>&1 </dev/null
}

gateway_make() {
    local at=$1 monitor=$2 fsid=$3 osd
    osd=$(cat /proc/sys/kernel/random/uuid)
    monmaptool --create --fsid "$fsid" --addv a "$monitor" "$at/monmap" &&
        ceph-mon --mkfs -i a --monmap "$at/monmap" &&
        ceph-mon -i a &&
        timeout 60 ceph osd new "$osd" &&
        ceph-osd -i 0 --mkfs --osd-uuid "$osd" &&
        ceph-osd -i 0 &&
        timeout 60 radosgw-admin user create --uid=lethe --display-name=lethe --access-key=lethe --secret-key=lethesecret
}

gateway_start() {
    local at=$1 store=${2:-memstore} fsid ports
    fsid=$(cat /proc/sys/kernel/random/uuid)
    # shellcheck disable=SC2207
    ports=($(python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*[s.getsockname()[1] for s in held])'))
    GATEWAY_PORT=${ports[0]}
    mkdir -p "$at/mon" "$at/osd"
    export CEPH_CONF=$at/ceph.conf
    gateway_config "$at" "$store" "$fsid" "${ports[@]}" >"$CEPH_CONF"
    export AWS_ENDPOINT_URL=http://127.0.0.1:$GATEWAY_PORT AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=lethe AWS_SECRET_ACCESS_KEY=lethesecret LETHE_S3_BUCKET=lethe-test
    unset AWS_SESSION_TOKEN AWS_PROFILE
    if ! gateway_make "$at" "[v2:127.0.0.1:${ports[1]},v1:127.0.0.1:${ports[2]}]" "$fsid" >"$at/start.log" 2>&1 </dev/null ||
        ! radosgw -n client.rgw >>"$at/start.log" 2>&1 </dev/null ||
        ! curl -sS --retry 120 --retry-connrefused --retry-delay 1 -o "$at/answer" "$AWS_ENDPOINT_URL" 2>>"$at/start.log" ||
        ! gateway_curl -f -X PUT "$AWS_ENDPOINT_URL/$LETHE_S3_BUCKET"; then
        tail -n 10 "$at/start.log" "$at"/*.log >&2
        return 1
    fi
}

gateway_pids() {
    cat "$1"/*.pid 2>/dev/null || true
}

gateway_kill() {
    local pid pids
    pids=$(gateway_pids "$1")
    # shellcheck disable=SC2086
    kill -9 $pids
    for pid in $pids; do
        tail --pid="$pid" -f /dev/null
    done
    rm -f "$1"/*.pid
}

gateway_stop() {
    local pid
    for pid in $(gateway_pids "$1"); do
        kill "$pid" 2>/dev/null || continue
        timeout 20 tail --pid="$pid" -f /dev/null || kill -9 "$pid" || true
    done
}
