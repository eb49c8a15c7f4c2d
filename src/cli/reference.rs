//! The page docs/reference/commands.md, written from the commands themselves.

use std::fmt::Write;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, Optionality};

use super::Knhk;

const OPENING: &str = "\
# Commands

Written from the commands in src/cli; a test fails when the two differ (`UPDATE_EXPECT=1` writes it anew).
Write options as `--key value`. `--json` prints one document with the same facts. Exit statuses: statuses.md.

Commands ask the running service through its socket. When none runs, those that only read look at the store and touch
no file, and those that change something take the store alone for as long as they last; only the service makes a store.
When a process has the store and does not answer, commands that read show its journal, and say on stderr up to which
frame and how old that is. Whoever may not read `state_dir` hears that no service answers. Run by root, such a command
first becomes the owner of `state_dir`.
";

/// Returns the page.
pub fn reference() -> String {
    let mut page = OPENING.to_owned();
    section(&mut page, "knhk", &Knhk::get_args_info());
    page
}

fn section(page: &mut String, path: &str, command: &CommandInfoWithArgs) {
    const NEVER_FAILS: &str = "invariant: writing to a string does not fail";
    if command.commands.is_empty() {
        let mut title = vec![path.to_owned()];
        title.extend(command.positionals.iter().map(|argument| usage(argument.name, &argument.optionality)));
        let title = title.join(" ");
        write!(page, "\n## `{title}`\n\n{}.\n\n", command.description.trim()).expect(NEVER_FAILS);
        for argument in command.positionals {
            writeln!(page, "- `{}`: {}", argument.name, argument.description).expect(NEVER_FAILS);
        }
        for flag in command.flags.iter().filter(|flag| flag.long != "--help" && !flag.hidden) {
            let value = match flag.kind {
                FlagInfoKind::Switch => String::new(),
                FlagInfoKind::Option { arg_name } => format!(" {}", arg_name.to_uppercase()),
            };
            writeln!(page, "- `{}{value}`: {}", flag.long, flag.description).expect(NEVER_FAILS);
        }
    }
    for below in &command.commands {
        section(page, &format!("{path} {}", below.name), &below.command);
    }
}

/// Returns an argument as a usage line has it.
pub(super) fn usage(name: &str, optionality: &Optionality) -> String {
    let name = name.to_uppercase();
    match optionality {
        Optionality::Required => name,
        Optionality::Optional => format!("[{name}]"),
        Optionality::Repeating | Optionality::Greedy => format!("[{name}...]"),
    }
}
