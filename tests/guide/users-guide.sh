# What each block of users-guide.md must say and bring about. scripts/guide sources this file and calls, for block N,
# `before_N` if there is one, the block's commands at a terminal, and `block_N`. A block without a function here, and a
# function without a block, fail. tests/guide/library has the words that are used: says, says_in, may_end, effect, inside.

# What one block leaves for a later one; a run of chosen blocks has less of it.
old= first_backup_before=0 stopped_at=0

# Watching

block_1() {
    says 'Active: active \(running\)'
    says '"status":"(ok|degraded)"'
    says '^knhk_workflow_cases_total [1-9]'
    says '^knhk_hot_path_ticks_bucket\{le="[0-9.+Inf]+"\} [0-9]+'
}

# Prometheus answers, and what it answers is what its samples say; scripts/monitoring compares these with what ran.
block_2() { prometheus_agrees; }
block_3() { prometheus_agrees; }
before_4() { something_goes_wrong; }
block_4() { prometheus_agrees; }
block_5() {
    # A quantile lies in the bucket that holds it: between two bounds of the histogram.
    is_number_between 0 4096 "$(prometheus_value)"
}

# Logs

before_6() { container_runs; }
block_6() {
    says 'ready: knhk serves on'
    says_in 'journalctl -u knhk --since today' 'knhk'
    says_in 'docker logs knhk -f' 'knhk'
}
before_7() {
    # A service that cannot start says why, in words that the guide looks for.
    inside mkdir -p /etc/knhk/knhk.toml.d
    inside sh -c 'echo "hot_path_max_ticks = \"many\"" >/etc/knhk/knhk.toml.d/90-broken.toml'
    inside systemctl restart knhk || true
    effect 'a wrong configuration is not tried again and again' inside sh -c \
        '[ "$(systemctl show knhk -p ExecMainStatus --value)" = 78 ] && [ "$(systemctl is-active knhk)" = failed ]'
    inside rm /etc/knhk/knhk.toml.d/90-broken.toml
    inside systemctl reset-failed knhk
    inside systemctl start knhk
}
block_7() {
    says 'knhk\[[0-9]+\]: error.*hot_path_max_ticks'
    says '90-broken\.toml'
}
before_8() {
    # A warning of which it is known that it must be there: a value that waits for a restart.
    inside knhk config set http_workers 100 >/dev/null
    inside knhk config unset http_workers >/dev/null
}
block_8() { says 'knhk\[[0-9]+\]: warning: the configuration waits for a restart: http_workers'; }
before_9() {
    # A budget that no machine keeps: what is over it must be found.
    inside knhk config set hot_path_max_ticks 1 >/dev/null
    inside systemctl restart knhk
    until_says 'slow hot path' inside journalctl -u knhk --since -5min
    inside knhk config set hot_path_max_ticks 8 >/dev/null
    inside systemctl restart knhk
}
block_9() { says 'knhk\[[0-9]+\]: warning: slow hot path: ticks'; }

# Once a week

block_10() {
    says 'test result: ok'
    says '[0-9.]+ ticks'
    # Whether this machine keeps the budget is this machine's affair; that the status tells it is ours.
    verdict_is_told
}
block_11() {
    says 'knhk +[0-9]+ .* knhk serve$'
    says '^[0-9.]+[KMG][[:space:]]+/var/lib/knhk'
    says 'PID USER'
}
before_12() { tar_began=$(now); }
block_12() {
    # 1 is "file changed as we read it", which is normal on a running service.
    may_end 'tar -czf' 0 1
    may_end 'tar -tzf' 0 141
    says 'var/lib/knhk/journal/'
    first_backup_before=$tar_began
}
before_13() { old=$(inside knhk workflow list --older-than 90d --state completed --quiet | sort); }
block_13() {
    effect 'there were old cases' test -n "$old"
    says_in 'knhk workflow list' "$(echo "$old" | head -n 1)"
    says_in 'knhk workflow archive' "$(echo "$old" | wc -l) cases?"
    effect 'nothing closed is left that is so old' \
        test -z "$(inside knhk workflow list --older-than 90d --state completed --quiet)"
    effect 'what runs stays, however old' test -n "$(inside knhk workflow list --older-than 90d --state running --quiet)"
    effect 'an archived case is found by its id' inside knhk workflow get "$(echo "$old" | head -n 1)"
}

# Once a month

block_14() {
    may_end 'cargo audit' 0
    # Nothing found is what one hopes for, and grep's 1.
    may_end 'cargo tree' 1
    # The words stand in many places of any program; scripts/audit looks whether one of them is a secret.
    may_end 'grep -r' 0
    effect 'nothing that looks like a secret' scripts/audit --secrets
}
block_15() {
    effect 'the report is JSON' inside python3 -m json.tool /root/performance-report.json
    effect 'the report knows the running service' inside grep -q '"hot_path' /root/performance-report.json
    # 1: it found something to say about this machine.
    may_end 'knhk performance analyze' 0 1
    says_in 'knhk performance analyze' 'TICKS A STEP'
}
block_16() {
    says '^hot_path_max_ticks +8'
    says '^OTEL_ENDPOINT'
    effect 'the values are in the file' inside sh -c \
        'grep -qx "hot_path_max_ticks = 8" /etc/knhk/knhk.toml && grep -qx "warm_path_timeout_ms = 100" /etc/knhk/knhk.toml'
}

# When the service is out

block_17() { says 'Active: active \(running\)'; }
block_18() { says 'knhk\[[0-9]+\]: '; }
block_19() {
    says 'PID USER'
    says 'Use%'
}
before_20() { main_pid=$(inside systemctl show knhk -p MainPID --value); }
block_20() {
    effect 'another process serves' test "$main_pid" != "$(inside systemctl show knhk -p MainPID --value)"
    effect 'it is healthy' healthy
}
block_21() {
    says '"status":"(ok|degraded)"'
    says '^ID +WORKFLOW'
}
block_22() { says 'knhk'; }

# When it is slow

block_23() { verdict_is_told; }
block_24() {
    says 'PID USER'
    says '%util'
}
block_25() { says 'journal'; }
block_26() { effect 'the drop-in says it' unit_has LimitMEMLOCK 4294967296; }
block_27() { says 'cache_size_mb.*1024'; }
block_28() {
    effect 'the limit is taken' unit_has LimitMEMLOCK 4294967296
    effect 'it is healthy' healthy
}

# When state is damaged

before_29() { flip_a_byte "$(inside sh -c 'ls /var/lib/knhk/journal/*.jnl | tail -n 1')"; }
block_29() {
    may_end 'knhk state verify' 1
    may_end 'knhk workflow list' 0 1
    says_in 'knhk state verify' 'damage|bad'
    says_in 'knhk state verify' '[0-9]{20}-[0-9]{10}\.(jnl|his)'
}
block_30() { effect 'it is healthy' healthy; }
block_31() {
    says_in 'knhk workflow list' '^ID +WORKFLOW'
    says_in 'knhk state verify' 'whole|good|ok'
    effect 'all that was acknowledged before the backup began is there' \
        load_is_kept "$first_backup_before"
    effect 'cases that were archived after the backup are live again' inside knhk workflow get "$(echo "$old" | head -n 1)"
    load_begins_anew
}

# Maintenance

before_32() { load_pauses; }
block_32() { effect 'it is stopped' test "$(inside systemctl is-active knhk)" = inactive; }
before_33() { stopped_at=$(now); }
block_33() {
    # An editor that is left without a change.
    may_end 'sudo systemctl edit' 0 1
    effect 'the new binary is there' inside cmp /root/target/release/knhk /usr/local/bin/knhk
}
block_34() { effect 'it is healthy' healthy; }
block_35() {
    says '"status":"(ok|degraded)"'
    says '^ID +WORKFLOW'
    effect 'all that was acknowledged before the stop is there' load_is_kept "$stopped_at"
    load_starts
}

# Backup and recovery

before_36() { inside rm -f /var/backups/knhk/knhk-state-*.tar.gz; }
block_36() {
    effect 'cron has the line' inside sh -c 'crontab -l | grep -qxF "0 2 * * * /usr/local/bin/knhk-backup.sh"'
    # At two in the morning, as far as cron can know: the same line for each minute.
    inside sh -c 'echo "* * * * * /usr/local/bin/knhk-backup.sh" | crontab -'
    until_says 'knhk-state-[0-9]{8}_[0-9]{6}\.tar\.gz' inside ls /var/backups/knhk
    inside crontab -r
    until_ends 'cron has made its backup' inside sh -c '! pgrep -x tar >/dev/null'
    effect 'the backup of cron is good' inside sh -c 'knhk backup verify "$(ls -t /var/backups/knhk/knhk-state-*.tar.gz | head -n 1)"'
}
before_37() {
    inside sh -c 'rm -f knhk-state-backup-*.tar.gz'
    tar_began=$(now)
}
block_37() {
    may_end 'tar -czf' 0 1
    may_end 'tar -tzf' 0 141
    says 'var/lib/knhk/journal/'
}
block_38() { effect 'it is stopped' test "$(inside systemctl is-active knhk)" = inactive; }
block_39() { effect 'the state belongs to the service' test "$(inside stat -c %U:%G /var/lib/knhk)" = knhk:knhk; }
block_40() { effect 'it is healthy' healthy; }
block_41() {
    says_in 'knhk state verify' 'whole|good|ok'
    effect 'all that was acknowledged before the backup began is there' load_is_kept "$tar_began"
    load_begins_anew
}
block_42() { says 'whole|good|ok'; }
before_43() {
    # A case that is gone from the live store, and still in the backup.
    inside knhk workflow archive --older-than 90d >/dev/null
    lost_case=$(echo "$old" | head -n 1)
    fill '<case_id>' "$lost_case"
    fill '<backup_file>' "$(inside sh -c 'ls /root/knhk-state-backup-*.tar.gz')"
}
block_43() {
    effect 'the case is back' inside sh -c "knhk workflow get $lost_case | grep -q completed"
    effect 'with all of its history' inside sh -c "knhk workflow history $lost_case | grep -qi created"
}

# Capacity

block_44() {
    inside systemctl restart knhk
    effect 'LimitMEMLOCK is taken' unit_has LimitMEMLOCK 8589934592
    effect 'CPUQuota is taken' unit_has CPUQuotaPerSecUSec 4s
    effect 'it is healthy' healthy
}
block_45() { only_comments; }

# Trouble

before_46() {
    inside chown root:root /var/lib/knhk/store
    inside sh -c 'echo "cache_size_bm = 1024" >>/etc/knhk/knhk.toml'
}
block_46() {
    says_in 'ls -la' 'root +root .* store'
    may_end 'knhk config validate' 78
    says_in 'knhk config validate' 'cache_size_bm'
    says_in 'knhk config validate' 'cache_size_mb'
}
block_47() {
    effect 'the configuration is valid' inside knhk config validate
    effect 'the state belongs to the service' inside sh -c '[ -z "$(find /var/lib/knhk ! -user knhk)" ]'
    effect 'it is healthy' healthy
}
block_48() { verdict_is_told; }
block_49() {
    says 'cache_size_mb.*2048'
    effect 'it is healthy' healthy
}
block_50() {
    says_in 'systemctl status' 'active \(running\)'
    says_in 'telnet' 'Connected'
    says_in 'journalctl' 'otel'
}
block_51() {
    says 'OTEL_ENDPOINT +http://127\.0\.0\.1:4317'
    effect 'the collector runs' test "$(inside systemctl is-active otel-collector)" = active
    effect 'it is healthy' healthy
    spans_arrive
}
