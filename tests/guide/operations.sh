# What each block of docs/operations.md must say and bring about; users-guide.sh says how this file works.

old=

block_1() {
    says 'Active: active \(running\)'
    says '"status":"(ok|degraded)"'
    says '^knhk_workflow_cases_total [1-9]'
}
block_2() { prometheus_agrees; }
block_3() { prometheus_agrees; }
before_4() { something_goes_wrong; }
block_4() { prometheus_agrees; }
block_5() { is_number_between 0 4096 "$(prometheus_value)"; }
block_6() {
    says_in 'journalctl -u knhk -n 100' 'ready: knhk serves on'
    says_in 'journalctl -u knhk --since today' 'knhk\['
}
block_7() {
    # Each finds something or says that there is nothing.
    says_in 'journalctl -u knhk --no-pager | grep -i error' 'error'
    says_in 'journalctl -u knhk --no-pager | grep -i warn' 'warn'
    says_in 'journalctl -u knhk --no-pager | grep -i "tick' 'tick|slow'
}
block_8() { says '(within|over) the budget'; }
block_9() {
    says 'knhk serve'
    says '^[0-9.]+[KMG]?[[:space:]]+/var/lib/knhk'
    says_in 'knhk state info' 'journal'
    says_in 'top -b' 'knhk'
}
block_10() {
    says_in 'knhk backup create' 'backup made, and verified'
    says_in 'knhk backup list' 'knhk-state-[0-9]{8}_[0-9]{6}\.tar\.gz'
    says_in 'knhk backup verify' 'good'
}
before_11() { old=$(inside knhk workflow list --older-than 90d --state completed --quiet | sort); }
block_11() {
    effect 'there were old cases' test -n "$old"
    says_in 'knhk workflow list' "$(head -n 1 <<<"$old")"
    effect 'nothing closed is left that is so old' \
        test -z "$(inside knhk workflow list --older-than 90d --state completed --quiet)"
    effect 'what runs stays, however old' test -n "$(inside knhk workflow list --older-than 90d --state running --quiet)"
}
block_12() {
    says '^750 knhk:knhk /var/lib/knhk'
    says '^660 knhk:knhk /run/knhk/knhk.sock'
    says 'Overall exposure level for knhk.service: [01]\.'
}
block_13() {
    may_end 'knhk performance analyze' 0 1
    effect 'the report is JSON' inside python3 -m json.tool /tmp/knhk-performance.json
    effect 'the page is there' inside test -s /tmp/knhk-performance.html
}
block_14() {
    says 'hot_path_max_ticks'
    says '^valid'
    effect 'the values are in the file' inside grep -qx 'warm_path_timeout_ms = 100' /etc/knhk/knhk.toml
    effect 'it is healthy' healthy
}
block_15() {
    says 'Active: active \(running\)'
    says '"status":"(ok|degraded)"'
    says_in 'knhk workflow list' '^ID +WORKFLOW'
}
before_16() { spans_arrive; }
block_16() { says 'knhk'; }
block_17() {
    may_end 'knhk performance analyze' 0 1
    says '^knhk_journal_commit_seconds_count [1-9]'
}
block_18() { effect 'the limit is taken' unit_has LimitMEMLOCK 4294967296; }
block_19() {
    says_in 'knhk state verify' 'verdict +ok'
    says_in 'knhk workflow list' '^ID +WORKFLOW'
}
block_20() {
    says_in 'knhk backup restore' 'restored'
    says_in 'knhk state verify' 'verdict +ok'
    effect 'what was there before is kept' inside sh -c 'ls -d /var/lib/knhk*/*aside* /var/lib/knhk?*aside* 2>/dev/null | grep -q .'
    effect 'it is healthy' healthy
    load_begins_anew
}
block_21() {
    says_in 'knhk state verify' 'verdict +ok'
    effect 'it is healthy' healthy
    load_begins_anew
}
block_22() { says 'is in the live store again|it is here as it is there'; }
before_23() { stopped_at=$(now); }
block_23() {
    says 'backup made, and verified'
    effect 'it is stopped' test "$(inside systemctl is-active knhk)" = inactive
    load_pauses
}
block_24() {
    says '"status":"(ok|degraded)"'
    says '(within|over) the budget'
    effect 'all that was acknowledged before the stop is there' load_is_kept "$stopped_at"
    load_starts
}
block_25() {
    says 'knhk-backup\.timer'
    effect 'the unit did its work' test "$(inside systemctl show knhk-backup -p Result --value)" = success
}
block_26() { says 'var/lib/knhk/'; }
block_27() { effect 'the quota is taken' unit_has CPUQuotaPerSecUSec 4s; }
