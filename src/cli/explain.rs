//! `knhk explain`: the page of an error code, built into the program.

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::pages::PAGES;
use super::ui::Form;
use super::{Context, Error, problem};

/// Print what an error code means and what to do
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "explain", help_triggers("-h", "--help", "help"))]
pub(super) struct Explain {
    /// the code, such as KN0302
    #[argh(positional)]
    code: String,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

pub(super) fn run(context: &mut Context, command: &Explain) -> Result<(), Error> {
    context.ui.set_json(command.json);
    let code = problem::code(&command.code);
    let page = code.and_then(|code| PAGES.iter().find(|(number, _)| *number == code.0));
    let (Some(code), Some((_, page))) = (code, page) else {
        return Err(Error::NoPage { code: command.code.clone() });
    };
    if context.ui.form() == Form::Json {
        let title = page.lines().next().and_then(|line| line.split_once(": ")).map(|(_, title)| title);
        return context.ui.document(&json!({ "code": code.to_string(), "title": title, "text": page }));
    }
    context.ui.answer(page)
}
