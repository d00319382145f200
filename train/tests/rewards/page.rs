//! The tables of the page on rewards.

/// The page.
const PAGE: &str = include_str!("../../../docs/src/rewards.md");

/// The rows of the last table of a section, each a list of cells, without the head.
pub(crate) fn rows(section: &str) -> Vec<Vec<&'static str>> {
    let (_, body) = PAGE.split_once(&format!("\n## {section}\n")).unwrap();
    let body = body.split("\n## ").next().unwrap();
    let (_, table) = body.rsplit_once("\n| ---").unwrap();
    let lines = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells =
        |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let rows: Vec<Vec<&str>> = lines.map(cells).collect();
    assert!(!rows.is_empty(), "{section}");
    rows
}

/// The text of a cell, a JSON string.
pub(crate) fn text(cell: &str) -> String {
    serde_json::from_str(cell.trim_matches('`')).unwrap()
}

/// The number of a cell.
pub(crate) fn number(cell: &str) -> f64 {
    cell.parse().unwrap()
}

/// The words of a cell, without the marks of code.
pub(crate) fn words(cell: &str) -> String {
    cell.replace('`', "")
}

/// The examples of settings of the page.
pub(crate) fn settings() -> Vec<toml::Table> {
    let blocks = PAGE.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().parse().unwrap()).collect()
}
