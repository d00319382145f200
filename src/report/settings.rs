//! What all runs have in common, and what each changes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::page::{Align, Block, Cell, Table};
use super::text::{plain, short};

/// What follows from other settings, or is another with each seed.
const LEFT_OUT: [&str; 3] = ["data.corpus", "run.seed", "tokens"];
/// The longest value that is written.
const LONGEST: usize = 60;

/// The settings of one.
#[derive(Debug, Clone)]
pub(super) struct Of {
    /// What stands in its row.
    pub(super) cell: Cell,
    pub(super) name: String,
    pub(super) settings: Value,
}

/// What each has that the first has not, and the first's; `noun` is what they are.
pub(super) fn blocks(all: &[Of], noun: &str) -> Vec<Block> {
    let Some((base, others)) = all.split_first() else { return Vec::new() };
    let settings = flat(&base.settings);
    let columns = |names: [&str; 2]| names.map(|name| (name.to_owned(), Align::Left)).to_vec();
    let mut blocks = Vec::new();
    let changes =
        |of: &Of| vec![of.cell.clone(), Cell::from(changed(&settings, &flat(&of.settings)))];
    let rows: Vec<_> = others.iter().map(changes).collect();
    if !rows.is_empty() {
        blocks.push(Block::Paragraph(format!("What each {noun} has that the first has not.")));
        blocks.push(Block::Table(Table { columns: columns([noun, "settings"]), rows }));
    }
    let rows: Vec<Vec<Cell>> =
        settings.iter().map(|(key, value)| vec![plain(key).into(), value.clone().into()]).collect();
    if !rows.is_empty() {
        let table = Table { columns: columns(["setting", "value"]), rows };
        let summary = format!("The settings of the first {noun}, {}", base.name);
        blocks.push(Block::Folded { summary, open: false, blocks: vec![Block::Table(table)] });
    }
    blocks
}

fn changed(base: &BTreeMap<String, String>, own: &BTreeMap<String, String>) -> String {
    let mut all: Vec<String> = own
        .iter()
        .filter(|(key, value)| base.get(*key) != Some(value))
        .map(|(key, value)| format!("{} = {value}", plain(key)))
        .collect();
    all.extend(
        base.keys().filter(|key| !own.contains_key(*key)).map(|key| format!("no {}", plain(key))),
    );
    if all.is_empty() { "the same".into() } else { all.join(", ") }
}

/// Each setting by its path, without those that are not set.
fn flat(settings: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    flatten("", settings, &mut found);
    found.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
    found
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, found);
            }
        }
        Value::String(text) => {
            found.insert(path.to_owned(), short(&plain(text), LONGEST));
        }
        other => {
            found.insert(path.to_owned(), short(&plain(&other.to_string()), LONGEST));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_those_settings_that_the_first_has_not() {
        let base =
            json!({ "model": { "kind": "mla", "rank": 32 }, "run": { "seed": 1 }, "none": null });
        let own =
            json!({ "model": { "kind": "mha" }, "run": { "seed": 2 }, "x": [1, 2], "tokens": "f" });
        assert_eq!(
            changed(&flat(&base), &flat(&own)),
            "model.kind = mha, x = [1,2], no model.rank"
        );
        assert_eq!(changed(&flat(&base), &flat(&base)), "the same");
    }
}
