# The package: installed, upgraded, removed, installed again, purged; cases stay until somebody agrees to their end.

fresh package
builds() {
    local first second
    first=$(scripts/deb --binary "$binary" --output "$place" --check)
    second=$(scripts/deb --binary "$binary" --output "$place" --version "$(sed -E 's/.*knhk_(.*)-1_.*/\1/' <<<"$first")-2")
    install -m 644 "$first" "$tree/srv/first.deb"
    install -m 644 "$second" "$tree/srv/second.deb"
}
check "builds, and lintian has nothing to say that is not answered" builds
tree_boot
dpkg() { in_tree env DEBIAN_FRONTEND=noninteractive dpkg "$@"; }
case_is_there() { has "$(knhk workflow list --quiet)" "$(cat "$place/case")"; }

installs() {
    dpkg -i /srv/first.deb
    is_serving
    gives 0 in_tree systemctl is-enabled knhk
    same "$(in_tree readlink "/proc/$(property MainPID)/exe")" /usr/bin/knhk
    same "$(in_tree stat -c '%U:%G %a' /etc/knhk /etc/knhk/knhk.toml /var/backups/knhk | paste -sd ,)" \
        'root:knhk 750,root:knhk 640,knhk:knhk 750'
    knhk workflow register /srv/order.yawl
    knhk workflow create order --data '{"customer": "package"}' --quiet >"$place/case"
}
check "installs, and serves" installs

upgrades() {
    echo 'cache_size_mb = 300' >>"$tree/etc/knhk/knhk.toml"
    printf '[Service]\nLimitMEMLOCK=4G\n' | in_tree systemctl edit --stdin knhk
    local pid
    pid=$(property MainPID)
    dpkg -i /srv/second.deb
    has "$(in_tree dpkg-query -W knhk)" '-2$'
    is_serving
    [ "$(property MainPID)" != "$pid" ]
    case_is_there
    has "$(knhk config show)" 'cache_size_mb +300'
    same "$(property LimitMEMLOCK)" $((4 << 30))
}
check "an upgrade starts the service anew and keeps case, configuration and drop-in" upgrades

upgrades_over_a_mistake() {
    local pid
    pid=$(property MainPID)
    echo 'cache_size_mb = 3' >"$tree/etc/knhk/knhk.toml.d/90-wrong.toml"
    gives 0 dpkg -i /srv/second.deb
    has "$said" 'cache_size_mb = 3 is not' 'the configuration has mistakes'
    same "$(property MainPID)" "$pid"
    is_serving
    rm "$tree/etc/knhk/knhk.toml.d/90-wrong.toml"
}
check "an upgrade over a wrong configuration says so and leaves the service running" upgrades_over_a_mistake

local_binary_wins() {
    cp "$binary" "$tree/usr/local/bin/knhk"
    in_tree systemctl restart knhk
    within 30 is_serving
    same "$(in_tree readlink "/proc/$(property MainPID)/exe")" /usr/local/bin/knhk
    gives 0 dpkg -i /srv/second.deb
    has "$said" '/usr/local/bin/knhk goes before'
    rm "$tree/usr/local/bin/knhk"
    in_tree systemctl restart knhk
    within 30 is_serving
    same "$(in_tree readlink "/proc/$(property MainPID)/exe")" /usr/bin/knhk
}
check "a binary in /usr/local/bin goes before the package's, as the operations guide copies it" local_binary_wins

disabled_stays_so() {
    in_tree systemctl disable knhk
    dpkg -i /srv/second.deb
    gives 1 in_tree systemctl is-enabled knhk
    in_tree systemctl enable knhk
}
check "who disabled the service keeps it disabled over an upgrade" disabled_stays_so

removes() {
    gives 0 dpkg -r knhk
    has "$said" 'state stays in /var/lib/knhk'
    same "$(property ActiveState) $(property LoadState)" "inactive not-found"
    [ -e "$tree/var/lib/knhk/store" ] && [ -e "$tree/etc/knhk/knhk.toml" ] && [ ! -e "$tree/usr/bin/knhk" ]
    dpkg -i /srv/first.deb
    is_serving
    case_is_there
}
check "removed and installed again, it has its case" removes

purge_keeps_state() {
    local token
    token=$(in_tree knhk token create --name unit --scope read)
    # Used, so that the folder has the days of uses too.
    in_tree knhk config set listen_allow token
    in_tree systemctl restart knhk
    within 30 is_serving
    in_tree curl -sSf -o /dev/null -H "Authorization: Bearer $token" http://127.0.0.1:8080/cases
    within 10 test -e "$tree/var/lib/knhk-remote/uses"
    gives 0 dpkg -P knhk
    has "$said" 'the state stays in /var/lib/knhk' 'not agreed to' 'in /var/lib/knhk-remote stay tokens' 'rm /var/lib/knhk-remote/tokens'
    [ -e "$tree/var/lib/knhk/store" ] && [ ! -e "$tree/etc/knhk" ] && [ ! -e "$tree/var/cache/knhk" ]
    dpkg -i /srv/first.deb
    is_serving
    case_is_there
    has "$(in_tree knhk token list)" unit
}
check "a purge without a terminal keeps state and tokens and says so" purge_keeps_state

purge_remote_as_told() {
    echo 'knhk knhk/purge-remote boolean true' | in_tree debconf-set-selections
    gives 0 dpkg -P knhk
    has "$said" 'the state stays in /var/lib/knhk' 'certificate and key in /var/lib/knhk-remote are deleted'
    [ -e "$tree/var/lib/knhk/store" ] && [ ! -e "$tree/var/lib/knhk-remote" ]
    dpkg -i /srv/first.deb
    is_serving
    case_is_there
}
check "a purge deletes tokens and key when that was agreed to, and the state not with them" purge_remote_as_told

purge_asks() {
    # As at a terminal: the answer no, then yes.
    local answer
    for answer in n y; do
        echo "$answer" | in_tree env DEBIAN_FRONTEND=teletype script --quiet --return --command 'dpkg -P knhk' /dev/null
        has "$answer $([ -e "$tree/var/lib/knhk/store" ] && echo state)" '^(n state|y )$'
        dpkg -i /srv/first.deb
        is_serving
    done
    same "$(knhk workflow list --quiet)" ""
}
check "a purge asks, and does what was answered" purge_asks

purge_as_told() {
    mkdir -p "$tree/var/backups/knhk" && touch "$tree/var/backups/knhk/knhk-state-20260101_020000.tar.gz"
    echo 'knhk knhk/purge-state boolean true' | in_tree debconf-set-selections
    gives 0 dpkg -P knhk
    has "$said" 'the state is deleted'
    [ ! -e "$tree/var/lib/knhk" ] && [ -e "$tree/var/backups/knhk/knhk-state-20260101_020000.tar.gz" ]
    same "$(find "$tree/usr" "$tree/etc" -name '*knhk*' ! -name override.conf ! -name 'knhk.service.d')" ""
}
check "a purge that was agreed to before deletes the state, and never backups" purge_as_told

same_bytes() {
    local one
    one=$(scripts/deb --binary "$binary" --output "$place")
    sha256sum "$one" >"$place/sum"
    scripts/deb --binary "$binary" --output "$place"
    sha256sum -c "$place/sum"
}
check "built again, the package has the same bytes" same_bytes
check "no unit has failed" nothing_failed
tree_stop
