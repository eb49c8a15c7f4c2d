# Upgrade in place, as the operations guide does it: stop, copy, start. And the way back.

# The last change before stores had format 2: the release before, as far as its files go.
former_commit=2168036

# Prints the binary of the release before, built once; nothing when the history of the sources does not go back so far.
former_binary() {
    local folder
    folder=$(realpath -m "${CARGO_TARGET_DIR:-target}/former/$former_commit")
    git cat-file -e "$former_commit^{commit}" 2>/dev/null || return 0
    if [ ! -x "$folder/knhk" ]; then
        echo "building the release before ($former_commit; once)" >&2
        mkdir -p "$folder/sources"
        git archive "$former_commit" | tar -x -C "$folder/sources"
        cargo build --locked --quiet --manifest-path "$folder/sources/Cargo.toml" --target-dir "$folder/target" >&2
        mv "$folder/target/debug/knhk" "$folder/knhk"
        rm -rf "$folder/target" "$folder/sources"
    fi
    echo "$folder/knhk"
}
# The steps of the guide. A running program's file cannot be written, hence the stop.
replace_binary() {
    in_tree systemctl stop knhk
    cp "$1" "$tree/usr/local/bin/knhk"
}
start() {
    in_tree systemctl start knhk
    within 60 is_serving
    same "$(in_tree sha256sum "/proc/$(property MainPID)/exe" | cut -d ' ' -f 1)" "$(sha256sum <"$tree/usr/local/bin/knhk" | cut -d ' ' -f 1)"
}
# What the service says of everything that it was told: cases, items and the history of each case.
told() {
    local case
    knhk workflow list --limit 1000 --json
    knhk workitem list --limit 1000 --json
    for case in $(knhk workflow list --limit 1000 --quiet); do knhk workflow history "$case" --limit 1000 --json; done
}
# Ages and the like differ from one look to the next; times of events, states and data do not.
remember() { told | sed -E 's/"age[a-z_]*": ?[^,}]*//g' >"$place/told"; }
remembers() { told | sed -E 's/"age[a-z_]*": ?[^,}]*//g' | diff "$place/told" -; }
work() {
    local case
    case=$(knhk workflow create order --data "{\"customer\": \"$1\"}" --quiet)
    knhk workitem start "$(knhk workitem list --case "$case" --quiet)"
    knhk workitem complete "$(knhk workitem list --case "$case" --quiet)" --data '{"amount": 5000}'
    remember
}
# Every file of the state: its bytes and when it was changed.
files_of_state() { (cd "$tree/var/lib/knhk" && find . -type f -printf '%p %s %T@\n' -exec sha256sum {} + | sort); }
# refuses: the service does not start over this store, says what to do, and changes no byte.
refuses() {
    local here before
    here=$(mark)
    before=$(files_of_state)
    gives 1 in_tree systemctl start knhk
    same "$(property ExecMainStatus)" 1 # docs/reference/statuses.md: stored bytes are not what this release can read.
    in_tree systemctl stop knhk
    has "$(journal --after-cursor "$here")" '^error\[KN0405\]: ' 'has format [0-9]+, and this release reads format' 'hint: knhk explain KN0405'
    has "$(knhk explain KN0405)" 'release that wrote it'
    same "$(files_of_state)" "$before"
}

fresh upgrade
scripts/install --root "$tree" --binary "$binary" >/dev/null
tree_boot

in_place() {
    within 60 is_serving
    knhk workflow register /srv/order.yawl
    work before
    # The same program in another file: what follows the program in it does not matter.
    { cat "$binary"; echo "another build"; } >"$place/next"
    replace_binary "$place/next"
    start
    remembers
    work after
    in_tree systemctl restart knhk
    within 60 is_serving
    remembers
}
check "stop, copy a binary, start: it runs, and knows every case" in_place

newer_format() {
    in_tree systemctl stop knhk
    cp "$tree/var/lib/knhk/store" "$place/store"
    # As a release to come would write it.
    in_tree python3 - /var/lib/knhk/store <<'PYTHON'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
assert data[:8] == b"KNHKSTOR" and len(data) == 32
data[8:12] = (int.from_bytes(data[8:12], "little") + 1).to_bytes(4, "little")
crc = 0xFFFFFFFF
for byte in data[:28]:
    crc ^= byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
data[28:] = (crc ^ 0xFFFFFFFF).to_bytes(4, "little")
open(sys.argv[1], "r+b").write(data)
PYTHON
    refuses
    # Commands that work without the service refuse it as well.
    gives 1 knhk workflow list
    has "$said" 'KN0405'
    cat "$place/store" >"$tree/var/lib/knhk/store"
    start
    remembers
}
check "a store of a newer release: it is refused, with what to do, and no byte changes" newer_format
check "no unit has failed" nothing_failed

former=$(former_binary)
if [ -z "$former" ]; then
    echo "SKIPPED the release before: commit $former_commit is not in this history (git fetch --unshallow)"
    [ "${CI:-}" != true ] || failed=$((failed + 1))
else
    fresh former
    scripts/install --root "$tree" --binary "$former" >/dev/null
    tree_boot

    former_store_opens() {
        within 60 is_serving
        knhk workflow register /srv/order.yawl
        work one
        replace_binary "$binary"
        start
        remembers
        has "$(knhk state info --json)" '"format": ?1'
        work two
    }
    check "a store of the release before opens after the upgrade, with every case" former_store_opens

    back_and_forth() {
        knhk state snapshot
        knhk state trim --now --yes
        work three
        replace_binary "$former"
        start
        remembers
        work four
        replace_binary "$binary"
        start
        remembers
        has "$(knhk state verify)" 'ok|no damage|sound'
    }
    check "back to the release before: everything acknowledged meanwhile is there, and there again after the next upgrade" back_and_forth

    agreed_upgrade() {
        gives 2 knhk state upgrade
        in_tree systemctl stop knhk
        knhk state upgrade --yes
        start
        has "$(knhk state info --json)" '"format": ?2'
        work five
        replace_binary "$former"
        refuses
        replace_binary "$binary"
        start
        remembers
    }
    check "after state upgrade the release before refuses the store, with what to do, and no byte changes" agreed_upgrade
    check "no unit has failed" nothing_failed
fi
tree_stop
