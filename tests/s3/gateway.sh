# SPDX-License-Identifier: MIT
# A Ceph RADOS Gateway of one node on loopback, in memory: the reference among S3 servers. Sourced; needs Debian's
# ceph-mon ceph-osd radosgw ceph-common curl. gateway_start FOLDER PORT sets the AWS_* variables and LETHE_S3_BUCKET;
# gateway_stop FOLDER ends it, by the pids that its daemons wrote.

gateway_missing() {
    local program
    for program in ceph-mon ceph-osd radosgw radosgw-admin monmaptool ceph curl; do
        command -v $program >/dev/null || { echo "$program"; return 0; }
    done
    return 1
}

gateway_config() {
    local at=$1 port=$2 fsid=$3
    cat <<END
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]
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
osd objectstore = memstore
memstore device bytes = 4294967296
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

gateway_start() {
    local at=$1 port=$2 fsid osd
    fsid=$(cat /proc/sys/kernel/random/uuid)
    osd=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$at/mon" "$at/osd"
    export CEPH_CONF=$at/ceph.conf
    gateway_config "$at" "$port" "$fsid" >"$CEPH_CONF"
    {
        monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]" "$at/monmap"
        ceph-mon --mkfs -i a --monmap "$at/monmap"
        ceph-mon -i a
        timeout 60 ceph osd new "$osd"
        ceph-osd -i 0 --mkfs --osd-uuid "$osd"
        ceph-osd -i 0
        timeout 60 radosgw-admin user create --uid=lethe --display-name=lethe --access-key=lethe --secret-key=lethesecret
        radosgw -n client.rgw
    } >"$at/start.log" 2>&1 </dev/null || { tail -n 5 "$at/start.log" >&2; return 1; }
    export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=lethe AWS_SECRET_ACCESS_KEY=lethesecret LETHE_S3_BUCKET=lethe-test
    unset AWS_SESSION_TOKEN AWS_PROFILE
    curl -sS --retry 60 --retry-connrefused --retry-delay 1 -o /dev/null "$AWS_ENDPOINT_URL" 2>/dev/null
    gateway_curl -f -X PUT "$AWS_ENDPOINT_URL/$LETHE_S3_BUCKET"
}

gateway_stop() {
    local at=$1 file pid
    for file in "$at"/*.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || continue
        tail --pid="$pid" -f /dev/null
    done
}
