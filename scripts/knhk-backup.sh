#!/bin/bash
# What knhk-backup.timer runs, installed as /usr/local/bin/knhk-backup.sh: makes a backup of the state in backup_dir, verifies
# it, and deletes those that are older than backup_retain_days. Arguments go to `knhk backup create`, and so does its exit status.
set -u
# cron has neither.
export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}"
status=0
knhk backup create "$@" || status=$?
if [ "$status" -ne 0 ]; then
    echo "knhk-backup: no backup was made: knhk backup create ended with status $status" >&2
fi
exit "$status"
