//! `knhk man`: the manual pages, written from the commands and keys themselves as roff (man(7)).

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, FromArgs};

use super::reference::usage;
use super::{Context, Error, Knhk};
use crate::config::{KEYS, Value, nearest};

/// Print a manual page, or write all of them into a folder
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "man", help_triggers("-h", "--help", "help"))]
pub(super) struct Man {
    /// the page: knhk, knhk-workflow and so on, knhk.toml
    #[argh(positional)]
    page: Option<String>,
    /// folder for all pages, as man1/ and man5/
    #[argh(option)]
    dir: Option<PathBuf>,
}

/// One page.
struct Page {
    name: String,
    section: u8,
    text: String,
}

pub(super) fn run(context: &mut Context, command: &Man) -> Result<(), Error> {
    let pages = pages();
    let Some(dir) = &command.dir else {
        let name = command.page.as_deref().unwrap_or("knhk");
        return match pages.iter().find(|page| page.name == name) {
            Some(page) => context.ui.answer(&page.text),
            None => Err(Error::Usage {
                message: format!("there is no page {name:?}"),
                command: "knhk man".to_owned(),
                nearest: nearest(name, pages.iter().map(|page| page.name.as_str())).map(str::to_owned),
            }),
        };
    };
    if command.page.is_some() {
        return Err(Error::usage("a page and --dir do not go together: --dir writes all pages", "knhk man"));
    }
    for Page { name, section, text } in &pages {
        let folder = dir.join(format!("man{section}"));
        let path = folder.join(format!("{name}.{section}"));
        fs::create_dir_all(&folder).map_err(Error::system("make the folder of the pages"))?;
        fs::write(&path, text).map_err(Error::system("write a page"))?;
        context.ui.answer(&format!("{}\n", super::table::plain(&path.display().to_string())))?;
    }
    Ok(())
}

fn pages() -> Vec<Page> {
    let root = Knhk::get_args_info();
    let mut pages = vec![Page { name: "knhk".to_owned(), section: 1, text: overview(&root) }];
    for below in &root.commands {
        let name = format!("knhk-{}", below.name);
        let text = family(&name, &format!("knhk {}", below.name), &below.command);
        pages.push(Page { name, section: 1, text });
    }
    pages.push(Page { name: "knhk.toml".to_owned(), section: 5, text: keys() });
    pages
}

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "done; the answer is yes"),
    ("1", "done; the answer is no: not found, refused, unhealthy"),
    ("2", "the command line was wrong"),
    ("69", "the service cannot be reached, or takes no work now"),
    ("70", "a fault of the program itself: please report it"),
    ("74", "something could not be read or written"),
    ("75", "busy, or it took too long: try again"),
    ("78", "the configuration is invalid"),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("KNHK_CONFIG", "One configuration file in place of those under /etc."),
    ("KNHK_LOG", "Overrides the key log_level."),
    ("KNHK_NO_PROGRESS", "Turns progress lines off."),
    ("NO_COLOR", "Turns colours off, as TERM=dumb does."),
];

const FILES: &[(&str, &str)] = &[
    ("/usr/lib/knhk/knhk.toml", "The distributor's configuration."),
    ("/etc/knhk/knhk.toml", "The administrator's configuration; see knhk.toml(5)."),
    ("/etc/knhk/knhk.toml.d/*.toml", "More of it; a later file overrides an earlier one, key by key."),
    ("/var/lib/knhk", "The state, where state_dir names no other folder."),
    ("/var/backups/knhk", "Backups, where backup_dir names no other folder."),
    ("/run/knhk/knhk.sock", "The socket of the service, where socket names no other one."),
];

fn overview(root: &CommandInfoWithArgs) -> String {
    let mut page = Roff::new("knhk", 1, "run workflows");
    page.section("SYNOPSIS");
    page.line(".B knhk");
    page.text("COMMAND [ARGUMENTS]");
    page.section("DESCRIPTION");
    page.text(&format!("{}.", root.description.trim()));
    page.line(".PP");
    page.text(
        "Commands ask the running service through its socket. When none runs, those that only read look at the store, \
         and those that change something take it alone for as long as they last.",
    );
    page.section("COMMANDS");
    for below in &root.commands {
        page.term(&format!("knhk-{}(1)", below.name), &format!("{}.", below.command.description.trim()));
    }
    page.section("OPTIONS");
    page.flags(root);
    page.section("EXIT STATUS");
    page.terms(EXIT_STATUS);
    page.section("ENVIRONMENT");
    page.terms(ENVIRONMENT);
    page.section("FILES");
    page.terms(FILES);
    page.see_also("knhk.toml(5)");
    page.0
}

/// Returns the page of a command and all below it.
fn family(name: &str, path: &str, command: &CommandInfoWithArgs) -> String {
    let mut page = Roff::new(name, 1, command.description.trim());
    page.section(if command.commands.is_empty() { "SYNOPSIS" } else { "COMMANDS" });
    page.command(path, command);
    page.section("EXIT STATUS");
    page.text("As of all commands: see knhk(1).");
    page.see_also("knhk(1), knhk.toml(5)");
    page.0
}

fn keys() -> String {
    let mut page = Roff::new("knhk.toml", 5, "configuration of the workflow engine knhk");
    page.section("DESCRIPTION");
    page.text(
        "Files are TOML, one key = value a line, without sections. A later file overrides an earlier one, key by key: \
         what is built in, /usr/lib/knhk/knhk.toml, /etc/knhk/knhk.toml, /etc/knhk/knhk.toml.d/*.toml in the order of \
         their names. With KNHK_CONFIG=FILE that file takes the place of those under /etc.",
    );
    page.line(".PP");
    page.text(
        "knhk config show --origin tells where each value comes from, knhk config set changes one, knhk config \
         validate finds all mistakes, and knhk config fix sets aside what is wrong.",
    );
    page.section("KEYS");
    for key in KEYS {
        let default = match &key.default {
            Value::Text(text) => format!("\"{text}\""),
            other => other.to_string(),
        };
        page.term(&format!("{} = {default}", key.name), key.doc);
        page.line(".br");
        let (values, takes) = (key.rule.words(), key.takes.word());
        page.text(&format!("Takes {values}. A change takes effect with: {takes}. Since {}.", key.since));
    }
    page.section("FILES");
    page.terms(&FILES[..3]);
    page.see_also("knhk(1), knhk-config(1)");
    page.0
}

const NEVER_FAILS: &str = "invariant: writing to a string does not fail";

/// A page that is being written.
struct Roff(String);

impl Roff {
    fn new(name: &str, section: u8, what: &str) -> Self {
        let mut page = Self(String::new());
        page.line(concat!(".\\\" Written by knhk man, version ", env!("CARGO_PKG_VERSION")));
        let version = env!("CARGO_PKG_VERSION");
        // No date, so that the same program writes the same page.
        let title = escaped(&name.to_uppercase());
        page.line(&format!(".TH \"{title}\" {section} \"\" \"knhk {version}\" \"KNHK\""));
        page.section("NAME");
        // mandb takes what stands behind the dash for the page's line in whatis and apropos.
        page.line(&format!("{} \\- {}", escaped(name), escaped(what)));
        page
    }

    fn line(&mut self, line: &str) {
        writeln!(self.0, "{line}").expect(NEVER_FAILS);
    }

    fn section(&mut self, name: &str) {
        self.line(&format!(".SH {name}"));
    }

    fn text(&mut self, text: &str) {
        self.line(&escaped(text));
    }

    fn term(&mut self, term: &str, text: &str) {
        self.line(".TP");
        self.line(&format!("\\fB{}\\fR", escaped(term)));
        self.text(text);
    }

    fn terms(&mut self, terms: &[(&str, &str)]) {
        for (term, text) in terms {
            self.term(term, text);
        }
    }

    fn see_also(&mut self, pages: &str) {
        self.section("SEE ALSO");
        self.text(pages);
    }

    /// Writes what a command takes, and below it the same for its subcommands; they nest as deep as the types.
    fn command(&mut self, path: &str, command: &CommandInfoWithArgs) {
        if command.commands.is_empty() {
            let mut title = vec![path.to_owned()];
            let arguments = command.positionals.iter();
            title.extend(arguments.map(|argument| usage(argument.name, &argument.optionality)));
            self.line(".SS");
            self.text(&title.join(" "));
            self.text(&format!("{}.", command.description.trim()));
            for argument in command.positionals {
                self.term(&argument.name.to_uppercase(), argument.description);
            }
            self.flags(command);
        }
        for below in &command.commands {
            self.command(&format!("{path} {}", below.name), &below.command);
        }
    }

    fn flags(&mut self, command: &CommandInfoWithArgs) {
        for flag in command.flags.iter().filter(|flag| !flag.hidden) {
            let value = match flag.kind {
                FlagInfoKind::Switch => String::new(),
                FlagInfoKind::Option { arg_name } => format!(" {}", arg_name.to_uppercase()),
            };
            self.term(&format!("{}{value}", flag.long), flag.description);
        }
    }
}

/// Returns text that roff prints as it is: nothing in it is a request or an escape, and hyphens can be copied.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_request() {
        assert_eq!(escaped(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(escaped("'x \\fB --key \"v\""), "\\&'x \\efB \\-\\-key \\(dqv\\(dq");
    }
}
