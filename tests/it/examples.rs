//! Every example is read without a mistake, and its scripted run gives what run.txt says, on a real service.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::support::service::{Place, Service, root};
use serde_json::Value;

/// Steps of a scripted run; a run that needs more is not an example.
const STEPS_MAX: usize = 100;

/// One command of a run and what it must say.
#[derive(Debug, Default)]
struct Step {
    line: usize,
    command: String,
    /// Pieces of the answer's lines, in order, blanks made one.
    says: Vec<String>,
    /// What must not be in the answer.
    silent_about: Vec<String>,
    status: i32,
}

/// Reads the format that examples/README.md describes.
fn read_run(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ knhk ") {
            steps.push(Step { line: index + 1, command: command.to_owned(), ..Step::default() });
            continue;
        }
        let step = steps.last_mut().ok_or(format!("line {}: nothing was asked yet", index + 1))?;
        if let Some(status) = line.strip_prefix("= ") {
            step.status = status.parse().map_err(|_| format!("line {}: not a status", index + 1))?;
        } else if let Some(piece) = line.strip_prefix("- ") {
            step.silent_about.push(one_blank(piece));
        } else if line.starts_with("  ") {
            step.says.push(one_blank(line));
        } else {
            return Err(format!(
                "line {}: begins with none of '$ knhk ', '= ', '- ' and two blanks",
                index + 1
            ));
        }
    }
    if steps.len() > STEPS_MAX { Err(format!("more than {STEPS_MAX} steps")) } else { Ok(steps) }
}

fn one_blank(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Splits a command line as a shell does that knows single quotes and nothing else.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in command.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    assert!(!quoted, "a quote is not closed: {command}");
    words.retain(|word| !word.is_empty());
    words
}

/// A place with a running service, and the newest case.
struct Stage {
    place: Place,
    service: Service,
    case: String,
}

impl Stage {
    fn new() -> Self {
        let mut place = Place::new();
        let service = place.start();
        Self { place, service, case: String::new() }
    }

    /// Puts ids for `$CASE` and `$ITEM(task)`.
    fn fill(&self, text: &str) -> String {
        let mut text = text.replace("$CASE", &self.case);
        while let Some(begin) = text.find("$ITEM(") {
            let end = begin + text[begin..].find(')').unwrap_or_else(|| panic!("a ) is missing: {text}"));
            let item = self.item(&text[begin + "$ITEM(".len()..end]);
            text.replace_range(begin..=end, &item);
        }
        text
    }

    /// Returns the live item of a task of the newest case.
    fn item(&self, task: &str) -> String {
        let list = self.service.client().get(&format!("/workitems?case={}", self.case)).unwrap().expect(200);
        let items = list["items"].as_array().unwrap();
        let ids: Vec<_> = items.iter().filter(|item| item["task"] == task).collect();
        assert_eq!(ids.len(), 1, "live items of {task} in {list}");
        ids[0]["id"].as_str().unwrap().to_owned()
    }

    /// Runs one step and returns what is wrong with its answer.
    fn run(&mut self, step: &Step) -> Result<(), String> {
        let arguments: Vec<String> = words(&step.command).iter().map(|word| self.fill(word)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.place.knhk(&arguments);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let fail = |what: String| Err(format!("line {}: {what}\n{stdout}{stderr}", step.line));
        if output.status.code() != Some(step.status) {
            return fail(format!("ends with {} and not {}", output.status, step.status));
        }
        if arguments.starts_with(&["workflow", "create"]) && step.status == 0 {
            self.case = self.newest_case();
        }
        let said: Vec<String> = stdout.lines().chain(stderr.lines()).map(one_blank).collect();
        let mut from = 0;
        for piece in &step.says {
            let piece = self.fill(piece);
            match said[from..].iter().position(|line| line.contains(&piece)) {
                Some(at) => from += at + 1,
                None => return fail(format!("{piece:?} is not said, or not in this order")),
            }
        }
        for piece in &step.silent_about {
            let piece = self.fill(piece);
            // As whole words: an id may hold any three letters.
            if said.iter().any(|line| format!(" {line} ").contains(&format!(" {piece} "))) {
                return fail(format!("{piece:?} is said"));
            }
        }
        Ok(())
    }

    /// Returns the id of the case created last: ids sort by creation.
    fn newest_case(&self) -> String {
        let list = self.service.client().get("/cases?limit=1000").unwrap().expect(200);
        let ids = list["items"].as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap());
        ids.max().unwrap().to_owned()
    }
}

/// Returns the folders of the examples by name.
fn examples() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.insert(entry.file_name().into_string().unwrap(), entry.path());
        }
    }
    found
}

fn replay(name: &str) {
    let text = fs::read_to_string(root().join("examples").join(name).join("run.txt")).unwrap();
    let steps = read_run(&text).unwrap_or_else(|error| panic!("examples/{name}/run.txt: {error}"));
    assert!(!steps.is_empty());
    let mut stage = Stage::new();
    for step in &steps {
        if let Err(error) = stage.run(step) {
            panic!("examples/{name}/run.txt, {error}\nlog:\n{}", stage.place.log());
        }
    }
    assert!(stage.service.stop().success(), "{}", stage.place.log());
}

#[test]
fn order_runs_as_written() {
    replay("order");
}

#[test]
fn loan_approval_runs_as_written() {
    replay("loan-approval");
}

#[test]
fn trip_runs_as_written() {
    replay("trip");
}

#[test]
fn every_example_is_complete_and_replayed() {
    let this = fs::read_to_string(root().join("tests/it/examples.rs")).unwrap();
    for (name, folder) in examples() {
        for file in [format!("{name}.yawl"), "README.md".to_owned(), "run.txt".to_owned()] {
            assert!(folder.join(&file).is_file(), "examples/{name}/{file} is missing");
        }
        let steps = read_run(&fs::read_to_string(folder.join("run.txt")).unwrap()).unwrap();
        let registers = format!("workflow register examples/{name}/{name}.yawl");
        assert!(steps.iter().any(|step| step.command == registers), "{name} does not register itself");
        assert!(this.contains(&format!("replay(\"{name}\");")), "nothing replays {name}");
    }
}

#[test]
fn every_example_is_read_and_compiled_without_a_mistake() {
    for (name, folder) in examples() {
        let reading = knhk::spec::read(&fs::read(folder.join(format!("{name}.yawl"))).unwrap());
        assert_eq!(reading.mistakes, [], "{name}");
        let compiled = knhk::net::compile(&reading.specification.unwrap(), None);
        assert!(compiled.is_ok(), "{name}: {compiled:?}");
    }
}

#[test]
fn the_readme_works_as_written() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("    knhk "))
        .filter(|line| *line != "serve")
        .collect();
    assert!(commands.len() >= 6, "the first steps are gone from README.md: {commands:?}");
    let mut stage = Stage::new();
    for command in commands {
        // What people read as "the id that the command before printed" is filled in here.
        let command = command.replace("CASE", "$CASE");
        let command =
            if command.contains("ITEM") { command.replace("ITEM", &stage.first_item()) } else { command };
        let step = Step { command, ..Step::default() };
        if let Err(error) = stage.run(&step) {
            panic!("README.md: knhk {}: {error}", step.command);
        }
    }
}

impl Stage {
    fn first_item(&self) -> String {
        let list = self.service.client().get(&format!("/workitems?case={}", self.case)).unwrap().expect(200);
        match &list["items"][0]["id"] {
            Value::String(id) => id.clone(),
            _ => panic!("no live item of {}: {list}", self.case),
        }
    }
}

#[test]
fn a_run_is_read_or_its_mistake_is_named() {
    let steps = read_run("# why\n$ knhk a 'b c'  d\n  two   words\n- not this\n= 1\n").unwrap();
    assert_eq!(words(&steps[0].command), ["a", "b c", "d"]);
    assert_eq!((steps[0].line, steps[0].status), (2, 1));
    assert_eq!(
        (&steps[0].says[..], &steps[0].silent_about[..]),
        (&["two words".to_owned()][..], &["not this".to_owned()][..])
    );
    assert_eq!(read_run("  said").unwrap_err(), "line 1: nothing was asked yet");
    assert_eq!(read_run("$ knhk x\n= y").unwrap_err(), "line 2: not a status");
    assert!(read_run("$ knhk x\nsaid").unwrap_err().starts_with("line 2: begins with none"));
}
