//! `knhk completions`: what the shell offers after the first letters, written from the commands themselves.

use std::fmt::Write;

use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};

use super::{Context, Error, Knhk};

/// Print the completions of a shell
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "completions", help_triggers("-h", "--help", "help"))]
pub(super) struct Completions {
    /// the shell: bash
    #[argh(positional)]
    shell: String,
}

pub(super) fn run(context: &mut Context, command: &Completions) -> Result<(), Error> {
    match command.shell.as_str() {
        "bash" => context.ui.answer(&bash()),
        other => {
            let message = format!("there are no completions for {other:?}, only for bash");
            Err(Error::usage(message, "knhk completions"))
        }
    }
}

const OPENING: &str = "\
# Completions of knhk for bash: eval \"$(knhk completions bash)\", or a file in /etc/bash_completion.d.
_knhk() {
    local word=${COMP_WORDS[COMP_CWORD]} path= offered= index
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
            -*) ;;
            *) [[ \" $(_knhk_offers \"$path\") \" == *\" ${COMP_WORDS[index]} \"* ]] && path=\"$path ${COMP_WORDS[index]}\" ;;
        esac
    done
    offered=$(_knhk_offers \"$path\")
    COMPREPLY=($(compgen -W \"$offered\" -- \"$word\"))
    [[ ${#COMPREPLY[@]} -eq 0 && $word != -* ]] && COMPREPLY=($(compgen -f -- \"$word\"))
}
_knhk_offers() {
    case $1 in
";

const CLOSING: &str = "    esac
}
complete -F _knhk knhk
";

fn bash() -> String {
    let mut text = OPENING.to_owned();
    offers(&mut text, "", &Knhk::get_args_info());
    text + CLOSING
}

/// Writes what may follow a command, and below it the same for its subcommands; they nest as deep as the types.
fn offers(text: &mut String, path: &str, command: &CommandInfoWithArgs) {
    let mut words: Vec<&str> = command.commands.iter().map(|command| command.name).collect();
    words.extend(command.flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.long));
    writeln!(text, "        \"{path}\") echo \"{}\" ;;", words.join(" "))
        .expect("invariant: writing to a string does not fail");
    for below in &command.commands {
        offers(text, &format!("{path} {}", below.name), &below.command);
    }
}
