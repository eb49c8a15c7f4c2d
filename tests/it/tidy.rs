//! Rules about the tree itself: which module may use which, how long a file is, that every test file is listed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may use (docs/ARCHITECTURE.md has the same table in words).
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("id", &["error"]),
    ("spec", &["error", "id"]),
    ("expr", &["error", "id"]),
    ("net", &["error", "id", "spec", "expr"]),
    ("kernel", &["id", "net"]),
    ("case", &["error", "id", "expr", "net", "kernel"]),
    ("store", &["error", "id"]),
    ("telemetry", &["error", "id"]),
    ("engine", &["error", "id", "spec", "expr", "net", "kernel", "case", "store", "telemetry"]),
    ("backup", &["error", "id", "store", "telemetry"]),
    ("api", &["error", "id", "spec", "net", "engine", "telemetry"]),
    ("config", &["error", "store", "telemetry", "engine", "backup", "api"]),
    ("perf", &["error", "id", "net", "kernel", "engine", "store", "telemetry"]),
    (
        "cli",
        &[
            "error",
            "id",
            "spec",
            "expr",
            "net",
            "kernel",
            "case",
            "store",
            "telemetry",
            "engine",
            "backup",
            "api",
            "config",
            "perf",
        ],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
    out.sort();
}

/// Returns the top module that a source file belongs to: `store` for src/store/journal.rs.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed =
            layers.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in the layers table"));
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for (at, _) in line.match_indices("crate::") {
                let used: String =
                    line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used != module && layers.contains_key(used.as_str()) && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}:{}: {module} may not use {used}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_file_is_listed() {
    let folder = root().join("tests/it");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        if name != "main" && !main.contains(&format!("mod {name};")) {
            names.push(name);
        }
    }
    assert!(names.is_empty(), "not listed in tests/it/main.rs: {names:?}");
}

/// Longest function without a reason of its own.
const FUNCTION_LINES_MAX: usize = 70;
/// Functions that are longer today. The list only shrinks.
const LONG_FUNCTIONS: &[&str] = &[];
/// Longest source file.
const FILE_LINES_MAX: usize = 1_000;

/// Returns the functions of a source text with their lengths, told by indentation: rustfmt keeps it true.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        let Some(start) = code.find("fn ").filter(|start| {
            let before = &code[..*start];
            before.split_whitespace().all(|word| {
                word.starts_with("pub") || ["const", "unsafe", "async"].contains(&word) || word.ends_with(')')
            })
        }) else {
            continue;
        };
        let name: String =
            code[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let end = lines[at..].iter().position(|line| *line == format!("{}}}", " ".repeat(indent)));
        found.extend(end.map(|end| (name, end + 1)));
    }
    found
}

#[test]
fn functions_and_files_stay_short() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let mut long = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() <= FILE_LINES_MAX, "{} is too long", file.display());
        for (name, lines) in functions(&text) {
            let place = format!("{}::{name}", module_of(&file));
            if lines > FUNCTION_LINES_MAX && !LONG_FUNCTIONS.contains(&place.as_str()) {
                long.push(format!("{}: {name} has {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn lengths_are_told_by_indentation() {
    let text = "fn one() {\n    1\n}\nimpl A {\n    pub(crate) const fn two() {\n        2\n    }\n}\nlet f = a_fn (3);\n";
    assert_eq!(functions(text), [("one".to_owned(), 3), ("two".to_owned(), 3)]);
}

#[test]
fn the_architecture_page_names_every_module_and_is_two_pages() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for (module, _) in LAYERS {
        assert!(page.contains(&format!("| `{module}` |")), "docs/ARCHITECTURE.md does not name {module}");
    }
    assert!(page.lines().count() <= 110, "docs/ARCHITECTURE.md is longer than two pages");
}
