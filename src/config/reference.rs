//! The page docs/reference/config.md, written from the table of keys.

use std::fmt::Write;

use super::keys::KEYS;
use super::value::Value;

const OPENING: &str = "\
# Configuration

Written from the table of keys in src/config/keys.rs; a test fails when the two differ (`UPDATE_EXPECT=1` writes it anew).

Files are TOML, one `key = value` a line, no sections. A later one overrides an earlier one, key by key:
built-in, `/usr/lib/knhk/knhk.toml`, `/etc/knhk/knhk.toml`, `/etc/knhk/knhk.toml.d/*.toml` in the order of names.
With `KNHK_CONFIG=FILE` that file takes the place of those under /etc.
`knhk config show --origin` tells where each value comes from, `knhk config validate` finds all mistakes,
`knhk config set KEY VALUE` changes one, and `knhk config fix` sets aside what is wrong.

A changed value takes effect with a *reload* of the running service (`knhk config set` asks for one, and so does
`systemctl reload knhk`: SIGHUP), with its *restart*, or with the *next command*, when the service has no use for it.
A reload of files with mistakes changes nothing; the log says what is wrong, and what needs a restart.

Where no file sets them, `cache_size_mb`, `answers_bytes_max`, `idempotency_keys_max` and `remote_connections_max` are lower
than here on a machine with little memory; `--origin` then says `default for this machine`. After the keys `knhk config
show` prints what the service's memory is for, part by part, which key sets each part, their sum, and what there is: three
quarters of the machine's memory, or the limit of the control group. Parts without a key are shares of that. A service that
may need more memory than it may use does not start (KN0670), and `knhk config validate` says so before. Commands read the
limit of the control group that they run in and not that of the unit: with a drop-in that sets another `MemoryMax`,
`validate`, `set` and `show` go by the machine's memory, and only a start or a reload by the limit of the unit.

Other variables: `KNHK_LOG` overrides `log_level`; `KNHK_NO_PROGRESS` turns progress lines off; `NO_COLOR` and
`TERM=dumb` turn colours off.

| Key | Default | Values | Takes effect | Since | What it is for |
|---|---|---|---|---|---|
";

/// Returns the page.
pub fn reference() -> String {
    let mut page = OPENING.to_owned();
    for key in KEYS {
        let default = match &key.default {
            Value::Text(text) => format!("\"{text}\""),
            other => other.to_string(),
        };
        writeln!(
            page,
            "| `{}` | `{default}` | {} | {} | {} | {} |",
            key.name,
            key.rule.words(),
            key.takes.word(),
            key.since,
            key.doc
        )
        .expect("invariant: writing to a string does not fail");
    }
    page
}
