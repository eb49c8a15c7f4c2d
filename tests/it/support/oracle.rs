//! The recorded answers under tests/data/oracle, or those of the folder that `KNHK_ORACLE_DIR` names.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use knhk::net::{Gate, Net, Shape, ShapeTask};

/// Reads a table: its rows after the heading, split at tabs.
pub(crate) fn rows(name: &str) -> Vec<Vec<String>> {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    let named = std::env::var_os("KNHK_ORACLE_DIR");
    let folder = named
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/oracle"), PathBuf::from);
    let path = folder.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().skip(1).filter(|line| !line.is_empty());
    lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Reads the nets of orjoin-nets.tsv by name.
pub(crate) fn nets() -> BTreeMap<String, Net> {
    let mut by_name: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for row in rows("orjoin-nets.tsv") {
        by_name.entry(row[1].clone()).or_default().push(row);
    }
    by_name.into_iter().map(|(name, rows)| (name.clone(), shape(&rows).net(&name))).collect()
}

fn shape(rows: &[Vec<String>]) -> Shape {
    let of = |kind: &str| rows.iter().filter(|row| row[0] == kind).collect::<Vec<_>>();
    let conditions: Vec<String> = of("C").iter().map(|row| row[2].clone()).collect();
    let ids: Vec<String> = of("T").iter().map(|row| row[2].clone()).collect();
    let find = |names: &[String], name: &str| {
        names.iter().position(|other| other == name).map(|at| u16::try_from(at).unwrap())
    };
    let members = |row: &[String], column: usize| -> Vec<String> {
        let list = row.get(column).map_or("", String::as_str);
        list.split('|').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let places = |names: Vec<String>| -> Vec<u16> {
        names
            .iter()
            .map(|name| find(&conditions, name).unwrap_or_else(|| panic!("condition {name}")))
            .collect()
    };
    let task = |row: &Vec<String>| {
        let (removes, stops): (Vec<String>, Vec<String>) =
            members(row, 7).into_iter().partition(|name| find(&conditions, name).is_some());
        ShapeTask {
            id: row[2].clone(),
            join: gate(&row[3]),
            split: gate(&row[4]),
            preset: places(members(row, 5)),
            flows: places(members(row, 6)),
            removes: places(removes),
            stops: stops
                .iter()
                .map(|name| find(&ids, name).unwrap_or_else(|| panic!("task {name}")))
                .collect(),
        }
    };
    Shape { tasks: of("T").into_iter().map(task).collect(), conditions }
}

fn gate(word: &str) -> Gate {
    match word {
        "and" => Gate::And,
        "xor" => Gate::Xor,
        "or" => Gate::Or,
        other => panic!("{other} is no kind of join or split"),
    }
}
