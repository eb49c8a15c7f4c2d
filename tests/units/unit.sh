# The unit on a host: what it starts, who may use it, how it comes back, what a mistake looks like.

fresh unit
check "installs into a tree" scripts/install --root "$tree" --binary "$binary"
tree_boot
in_tree useradd --create-home --groups knhk ann
in_tree useradd --create-home bob
in_tree useradd --create-home --gid knhk cid

is_ready() {
    within 60 is_serving
    same "$(property Type) $(property NotifyAccess) $(property SubState)" "notify main running"
    gives 0 in_tree systemctl is-enabled knhk
}
check "is active and ready after the boot" is_ready

answers_health() {
    gives 0 in_tree curl -s -o /dev/null -w '%{http_code}' http://localhost:8080/health
    same "$said" 200
}
check "/health answers 200" answers_health

is_who_it_should_be() {
    local pid
    pid=$(property MainPID)
    same "$(in_tree ps -o user=,group= -p "$pid" | xargs)" "knhk knhk"
    same "$(in_tree awk '/^Cap(Eff|Prm|Bnd|Inh)/ { print $2 }' "/proc/$pid/status" | sort -u)" 0000000000000000
    same "$(in_tree awk '/^NoNewPrivs/ { print $2 }' "/proc/$pid/status")" 1
}
check "runs as user knhk, without any capability" is_who_it_should_be

says_its_limits() {
    same "$(property LimitMEMLOCK)" $((1 << 30))
    same "$(property LimitNOFILE)" 65536
    local most total
    most=$(property MemoryMax)
    total=$(in_tree awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo)
    # systemd counts pages, and some of them are not the system's to give.
    [ $((most * 100)) -ge $((total * 74)) ] && [ $((most * 100)) -le $((total * 76)) ] || { echo "MemoryMax $most of $total"; return 1; }
    same "$(property WatchdogUSec) $(property Restart) $(property RestartPreventExitStatus)" "30s always 78"
}
check "says its limits, watchdog and restarts" says_its_limits

takes_work() {
    has "$(knhk workflow register /srv/order.yawl)" 'id +order' 'version +1'
    knhk workflow create order --data '{"customer": "root"}' --quiet >"$place/case"
    has "$(knhk workflow list)" "$(cat "$place/case")"
}
check "root registers, creates and lists" takes_work

# What the machine grants may be less; then the service runs all the same, and locks what it may.
locks_memory() {
    local pid granted
    pid=$(property MainPID)
    granted=$(in_tree awk '/^Max locked memory/ { print $4 }' "/proc/$pid/limits")
    echo "locked memory granted: $granted"
    [ "$granted" = unlimited ] || [ "$granted" -ge 65536 ]
    same "$(in_tree awk '/^VmLck/ { print ($2 > 0) }' "/proc/$pid/status")" 1
}
check "locks memory, as much as the machine grants" locks_memory

group_takes_work() {
    has "$(as ann knhk workflow register /srv/order.yawl)" 'version +1'
    local case
    case=$(as ann knhk workflow create order --data '{"customer": "ann"}' --quiet)
    has "$(as ann knhk workflow list)" "$case" "$(cat "$place/case")"
}
check "a member of group knhk does so without a password" group_takes_work

others_are_refused() {
    local before
    before=$(knhk workflow list --quiet)
    gives 78 as bob knhk workflow list
    has "$said" 'Permission denied' 'join the group knhk'
    gives 78 as bob knhk workflow create order
    gives 78 as bob knhk workflow register /srv/order.yawl
    # Not by a configuration of their own either: the socket itself is closed to them.
    printf 'socket = "/run/knhk/knhk.sock"\n' >"$tree/home/bob/knhk.toml"
    gives 69 as bob env KNHK_CONFIG=/home/bob/knhk.toml knhk workflow list
    gives 69 as bob env KNHK_CONFIG=/home/bob/knhk.toml knhk workflow create order
    same "$(knhk workflow list --quiet)" "$before"
}
check "others are refused, and nothing comes of it" others_are_refused

others_see_nothing() {
    local path
    for path in /var/lib/knhk /var/cache/knhk /run/knhk /etc/knhk /var/backups/knhk; do
        gives 2 as bob ls "$path"
        has "$said" 'Permission denied'
        same "$path $(in_tree stat -c %a "$path")" "$path 750"
    done
    gives 7 as bob curl -s --unix-socket /run/knhk/knhk.sock http://localhost/health
    # Nothing below them is open to others, should a folder above ever be.
    same "$(in_tree find /var/lib/knhk /var/cache/knhk /run/knhk /etc/knhk /var/backups/knhk -perm /007)" ""
}
check "state, socket, configuration and backups are closed to others" others_see_nothing

# status_as WHO ADDRESS PATH [CURL...]: the status of an answer that the port gives a user.
status_as() {
    local who=$1 address=$2 path=$3
    shift 3
    gives 0 as "$who" curl -g -s -o /dev/null -w '%{http_code}' "$@" "http://$address$path"
    echo "$said"
}
order='{"workflow": "order", "data": {"customer": "port"}}'
create_as() { status_as "$1" "$2" /cases -H 'Content-Type: application/json' -d "$order"; }

port_is_the_groups() {
    local address=$1 who path before
    for who in root knhk ann cid; do
        same "$who $(status_as "$who" "$address" /cases) $(create_as "$who" "$address")" "$who 200 201"
    done
    before=$(knhk workflow list --quiet)
    same "$(create_as bob "$address")" 403
    gives 0 as bob curl -g -s "http://$address/cases"
    has "$said" '"code":"KN0371"' "user $(in_tree id -u bob) " 'group knhk' 'directory service' 'Unix socket'
    for path in /health /health/live /metrics; do same "$path $(status_as bob "$address" "$path")" "$path 200"; done
    for path in /workflows /workitems /openapi.json /nowhere; do
        same "$path $(status_as bob "$address" "$path")" "$path 403"
    done
    same "$(knhk workflow list --quiet)" "$before"
}
check "the port answers root, knhk, a member and a user whose primary group it is; a stranger gets 403, and health" \
    port_is_the_groups 127.0.0.1:8080

who_joins_is_let_in() {
    in_tree usermod -aG knhk bob
    same "$(status_as bob 127.0.0.1:8080 /cases)" 200
    in_tree gpasswd -d bob knhk
    same "$(status_as bob 127.0.0.1:8080 /cases)" 403
}
check "who joins the group is let in at the next connection, and who leaves it is not" who_joins_is_let_in

cat >"$tree/srv/gone.py" <<'END'
import socket, sys
host, port, body = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
for _ in range(20):
    sender = socket.create_connection((host, port))
    sender.sendall(b"POST /cases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                   b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    sender.close()
END
# While the service is held nobody accepts: all of them have closed before they are looked at. The kernel then gives the
# number of root for each.
who_has_closed_is_nobody() {
    local host=$1 address=$2 pid before who
    pid=$(property MainPID)
    before=$(knhk workflow list --quiet)
    for who in root bob; do
        in_tree kill -STOP "$pid"
        as "$who" python3 /srv/gone.py "$host" 8080 "$order"
        in_tree kill -CONT "$pid"
        # Accepted after all of them.
        same "$(status_as root "$address" /health)" 200
        same "$(knhk workflow list --quiet)" "$before"
    done
}
check "a sender that closes at once is nobody, and nothing comes of it" who_has_closed_is_nobody 127.0.0.1 127.0.0.1:8080

other_names() {
    local host
    for host in evil.example localhost.evil.example 0.0.0.0:8080; do
        gives 0 in_tree curl -s -H "Host: $host" http://127.0.0.1:8080/health
        has "$said" '"status":421' '"code":"KN0370"' 'allowed_hosts'
    done
    same "$(status_as root 127.0.0.1:8080 /cases -H 'Host: localhost:9000')" 200
    gives 0 in_tree curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' --unix-socket /run/knhk/knhk.sock http://x/cases
    same "$said" 200
}
check "another name than localhost gets 421 on the port, and none on the socket" other_names

by_ipv6() {
    knhk config set listen '[::1]:8080'
    in_tree systemctl restart knhk
    within 30 is_serving
    port_is_the_groups '[::1]:8080'
    who_has_closed_is_nobody ::1 '[::1]:8080'
}
check "the same over IPv6" by_ipv6

by_token() {
    local token
    knhk config unset listen
    knhk config set listen_allow token
    in_tree systemctl restart knhk
    within 30 is_serving
    same "$(status_as root 127.0.0.1:8080 /cases) $(status_as bob 127.0.0.1:8080 /metrics)" "401 200"
    token=$(knhk token create --name port --scope read)
    same "$(status_as bob 127.0.0.1:8080 /cases -H "Authorization: Bearer $token")" 200
    same "$(create_as ann 127.0.0.1:8080)" 401
    gives 0 as bob curl -s -H "Authorization: Bearer $token" -d "$order" http://127.0.0.1:8080/cases
    has "$said" '"code":"KN0554"'
    # The socket goes by its mode, whatever the port asks for.
    gives 0 as ann knhk workflow list
    knhk config unset listen_allow
    in_tree systemctl restart knhk
    within 30 is_serving
    same "$(status_as bob 127.0.0.1:8080 /cases)" 403
}
check "listen_allow = token: whoever shows one, without remote_listen" by_token

kill_9() {
    local pid
    pid=$(property MainPID)
    in_tree kill -9 "$pid"
    within 30 is_serving
    same "$(property NRestarts)" 1
    [ "$(property MainPID)" != "$pid" ]
    has "$(knhk workflow get "$(cat "$place/case")")" 'state +running'
}
check "kill -9: it is started again, and has its case" kill_9

# The unit's 30 s are looked at above; here they are fewer, so that the check is short. Few files give a warning.
watchdog() {
    printf '[Service]\nWatchdogSec=5\nLimitNOFILE=256\n' | in_tree systemctl edit --runtime --stdin knhk
    in_tree systemctl restart knhk
    local pid here
    here=$(mark)
    pid=$(property MainPID)
    in_tree kill -STOP "$pid"
    is_another() { [ "$(property MainPID)" != "$pid" ] && is_serving; }
    within 60 is_another
    has "$(journal --after-cursor "$here")" 'Watchdog timeout'
    has "$(knhk workflow list --quiet)" "$(cat "$place/case")"
    in_tree systemctl revert knhk
    in_tree systemctl restart knhk
    same "$(property WatchdogUSec)" 30s
}
check "SIGSTOP: the watchdog starts it again" watchdog

config_mistake() {
    local here
    here=$(mark)
    cp "$tree/etc/knhk/knhk.toml" "$place/knhk.toml"
    printf 'cache_size_mb = 3\nhot_path_max_tick = 8\n' >>"$tree/etc/knhk/knhk.toml"
    gives 1 in_tree systemctl restart knhk
    same "$(property ExecMainStatus) $(property ActiveState)" "78 failed"
    has "$(in_tree systemctl status knhk)" 'knhk.toml:[0-9]+: cache_size_mb = 3 ' 'unknown key hot_path_max_tick$' 'nearest name is'
    has "$(journal --after-cursor "$here" | grep -i error)" 'knhk.toml:[0-9]+: cache_size_mb = 3 ' 'unknown key'
    gives 78 knhk config validate
    # One that is to be started again is "activating (auto-restart)".
    same "$(property ActiveState) $(property SubState) $(property NRestarts)" "failed failed 0"
    cat "$place/knhk.toml" >"$tree/etc/knhk/knhk.toml"
    in_tree systemctl start knhk
    within 30 is_serving
}
check "a mistake in the configuration: status 78, no restart, and what is wrong where" config_mistake

reload() {
    local here pid
    here=$(mark)
    pid=$(property MainPID)
    in_tree systemctl reload knhk
    said_something() { [ -n "$(journal --after-cursor "$here" | grep -i 'configuration')" ]; }
    within 30 said_something
    same "$(property MainPID)" "$pid"
    is_serving
}
check "reload reaches it, and it goes on" reload

drop_in() {
    printf '[Service]\nLimitMEMLOCK=4G\nCPUQuota=400%%\n' | in_tree systemctl edit --stdin knhk
    in_tree systemctl restart knhk
    within 30 is_serving
    same "$(property LimitMEMLOCK) $(property CPUQuotaPerSecUSec)" "$((4 << 30)) 4s"
    has "$(in_tree systemctl status knhk)" 'override.conf'
}
check "systemctl edit: LimitMEMLOCK and CPUQuota are the unit's" drop_in

hardened() {
    local exposure
    exposure=$(in_tree systemd-analyze security knhk --no-pager | sed -nE 's/.*Overall exposure level for knhk.service: ([0-9.]+) .*/\1/p')
    echo "exposure: $exposure"
    awk -v found="$exposure" 'BEGIN { exit !(found != "" && found <= 2.0) }'
    in_tree systemd-analyze security --threshold=20 knhk --no-pager >/dev/null
    in_tree systemd-analyze security --threshold=20 knhk-backup --no-pager >/dev/null
}
check "systemd-analyze security: 2.0 or less" hardened

verified() {
    # Manual pages are not in the tree.
    local said
    said=$(in_tree systemd-analyze verify --man=no knhk.service knhk-backup.timer 2>&1) || true
    same "$(grep -v 'knhk-backup.sh is not executable' <<<"$said")" ""
}
check "systemd-analyze verify finds nothing" verified

backup_timer() {
    # Without a script of ours there is nothing that it would start; the one of the guide comes below.
    [ -e scripts/knhk-backup.sh ] || in_tree systemctl enable --now knhk-backup.timer
    gives 0 in_tree systemctl is-enabled knhk-backup.timer
    same "$(property Persistent knhk-backup.timer) $(property TimersCalendar knhk-backup.timer | grep -oE 'OnCalendar=[^;]*')" \
        "yes OnCalendar=*-*-* 02:00:00 "
    has "$(in_tree systemctl list-timers knhk-backup.timer)" ' 02:00:00 UTC .*knhk-backup.service'
}
check "the timer of the backup: 02:00, made up for when missed" backup_timer

backs_up() {
    touch "$tree/srv/before"
    in_tree systemctl start knhk-backup.service
    same "$(property Result knhk-backup.service)" success
    local archive
    archive=$(in_tree find /var/backups/knhk -name 'knhk-state-*.tar.gz' -newer /srv/before)
    same "$(in_tree stat -c '%U:%G' "$archive")" knhk:knhk
    same "$(in_tree find "$archive" -perm /007)" ""
    has "$(in_tree tar -tzf "$archive")" '^var/lib/knhk/store$' '^var/lib/knhk/journal/.*jnl$'
}
[ ! -e scripts/knhk-backup.sh ] || check "the backup runs as user knhk" backs_up

guides_own() {
    cat >"$tree/usr/local/bin/knhk-backup.sh" <<'END'
#!/bin/bash
BACKUP_DIR=/var/backups/knhk
DATE=$(date +%Y%m%d_%H%M%S)
tar -czf $BACKUP_DIR/knhk-state-$DATE.tar.gz /var/lib/knhk
# Keep only last 30 days
find $BACKUP_DIR -name "knhk-state-*.tar.gz" -mtime +30 -delete
END
    chmod +x "$tree/usr/local/bin/knhk-backup.sh"
    backs_up
    has "$(scripts/install --root "$tree" --binary "$binary" 2>&1)" "$([ -e scripts/knhk-backup.sh ] && echo 'stays: it is one of your own' || echo upgrading)"
    has "$(cat "$tree/usr/local/bin/knhk-backup.sh")" '^tar -czf'
    rm "$tree/usr/local/bin/knhk-backup.sh"
}
check "the script of the operations guide runs in its place, and an upgrade leaves it there" guides_own

# Lines of the program itself, not of systemd about it, with a priority from .. to.
lines_of() { journal -t knhk -p "$1..$2"; }
carries_priority() {
    local errors warnings others
    errors=$(lines_of emerg err) warnings=$(lines_of warning warning) others=$(lines_of notice debug)
    has "$errors" '^error\[KN0604\]: '
    has "$warnings" '^warning: the limit on open files is low'
    has "$others" 'knhk serves on '
    same "$(grep -vE '^(error(:|\[KN[0-9]{4}\]:)|hint:) ' <<<"$errors")" ""
    same "$(grep -vE '^warning: ' <<<"$warnings")" ""
    same "$(grep -iE '^(error|warning)' <<<"$others")" ""
}
check "the journal's lines have a priority, and their message begins with it" carries_priority

stops() {
    local here
    here=$(mark)
    in_tree systemctl stop knhk
    same "$(property Result) $(property ExecMainStatus) $(property ActiveState)" "success 0 inactive"
    has "$(journal --after-cursor "$here")" '^(knhk stops|stopped)' 'Deactivated successfully'
    [ ! -e "/proc/$(tree_leader)/root/run/knhk/knhk.sock" ]
    has "$(knhk workflow list --quiet)" "$(cat "$place/case")"
    in_tree systemctl start knhk
    within 30 is_serving
}
check "stops in order, and starts again" stops

outlives_a_boot() {
    within 30 is_serving
    has "$(knhk workflow list --quiet)" "$(cat "$place/case")"
    same "$(property LimitMEMLOCK) $(property CPUQuotaPerSecUSec)" "$((4 << 30)) 4s"
}
tree_stop
tree_boot
check "after a boot: the case and the drop-in are there" outlives_a_boot

check "no unit has failed" nothing_failed

# From here on scripts/install runs inside, as it does on a host.
mkdir -p "$tree/srv/knhk/scripts"
cp -r systemd "$tree/srv/knhk/"
cp scripts/install "$tree/srv/knhk/scripts/"
[ ! -e scripts/knhk-backup.sh ] || cp scripts/knhk-backup.sh "$tree/srv/knhk/scripts/"
cp "$binary" "$tree/srv/knhk/knhk"
install_inside() { in_tree /srv/knhk/scripts/install "$@"; }

installs_again() {
    local pid
    in_tree systemctl disable knhk
    has "$(install_inside --binary /srv/knhk/knhk 2>&1)" 'knhk.service is disabled and stays so'
    gives 1 in_tree systemctl is-enabled knhk
    in_tree systemctl enable knhk
    pid=$(property MainPID)
    echo 'cache_size_mb = 300' >>"$tree/etc/knhk/knhk.toml"
    has "$(install_inside --binary /srv/knhk/knhk 2>&1)" '^upgrading' 'stays as it is' 'knhk is ready'
    is_serving
    [ "$(property MainPID)" != "$pid" ]
    has "$(knhk config show)" 'cache_size_mb +300'
    has "$(knhk workflow list --quiet)" "$(cat "$place/case")"
    same "$(property LimitMEMLOCK)" $((4 << 30))
}
check "installing again keeps configuration, drop-in and state" installs_again

installs_over_a_mistake() {
    echo 'cache_size_mb = 3' >"$tree/etc/knhk/knhk.toml.d/90-wrong.toml"
    gives 78 install_inside --binary /srv/knhk/knhk
    has "$said" 'cache_size_mb = 3 is not' 'hint: '
    is_serving
    rm "$tree/etc/knhk/knhk.toml.d/90-wrong.toml"
}
check "installing over a wrong configuration says so and leaves the service running" installs_over_a_mistake

uninstalls() {
    has "$(install_inside --uninstall)" 'kept: /var/lib/knhk' 'kept: /etc/knhk'
    same "$(property ActiveState) $(property LoadState)" "inactive not-found"
    same "$(find "$tree/usr/local" "$tree/etc/systemd/system" -name '*knhk*' ! -path '*.service.d*')" ""
    gives 2 install_inside --purge
    [ -e "$tree/var/lib/knhk/store" ] && [ -e "$tree/etc/knhk/knhk.toml" ]
    install_inside --binary /srv/knhk/knhk
    has "$(knhk workflow list --quiet)" "$(cat "$place/case")"
}
check "uninstalling keeps state, and what is installed then has it" uninstalls

purges() {
    local token
    token=$(in_tree knhk token create --name unit --scope read)
    # Used, so that the folder has the days of uses too.
    knhk config set listen_allow token
    in_tree systemctl restart knhk
    within 30 is_serving
    same "$(status_as bob 127.0.0.1:8080 /cases -H "Authorization: Bearer $token")" 200
    within 10 test -e "$tree/var/lib/knhk-remote/uses"
    has "$(install_inside --purge --yes)" '/var/lib/knhk' 'kept: /var/backups/knhk' 'kept: /var/lib/knhk-remote with tokens' 'rm /var/lib/knhk-remote/tokens'
    [ -e "$tree/var/lib/knhk-remote/tokens" ]
    has "$(install_inside --binary /srv/knhk/knhk)" 'knhk is ready'
    has "$(install_inside --purge --yes --purge-remote)" '  /var/lib/knhk-remote'
    [ ! -e "$tree/var/lib/knhk-remote" ]
    [ ! -e "$tree/var/lib/knhk" ] && [ ! -e "$tree/etc/knhk" ] && [ -d "$tree/var/backups/knhk" ]
    has "$(install_inside --binary /srv/knhk/knhk)" 'knhk is ready'
    same "$(knhk workflow list --quiet)" ""
}
check "purging deletes state and configuration when that was agreed to" purges
check "no unit has failed" nothing_failed
tree_stop
