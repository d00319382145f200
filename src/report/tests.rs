//! Pages of results that were made up, some of them to break a page.

use std::collections::BTreeSet;

use latent_train::ablation::RunResult;
use roxmltree::{Document, Node};

use super::ablation::{Ablation, page};
use super::summary;

mod hostile;
mod rl;
mod synthetic;

fn html(results: &[RunResult]) -> String {
    let command = "latent ablate train/ablation.toml --set 'run.out=\"a & b\"'";
    page(&Ablation { title: "Attention & experts", results, missing: &[], command }).render()
}

/// The drawings of a page.
fn drawings(html: &str) -> Vec<&str> {
    let parts = html.split("<svg ").skip(1);
    let end = |part: &str| part.find("</svg>").unwrap() + "</svg>".len();
    let start = |part: &str| part.as_ptr() as usize - html.as_ptr() as usize - "<svg ".len();
    parts.map(|part| &html[start(part)..start(part) + "<svg ".len() + end(part)]).collect()
}

/// Elements that would run or fetch something, or show something else.
const REFUSED: [&str; 12] = [
    "script",
    "link",
    "img",
    "image",
    "iframe",
    "object",
    "embed",
    "use",
    "foreignObject",
    "a",
    "b",
    "form",
];

/// Proves what holds for every page, and gives the number of its drawings.
fn check(html: &str) -> usize {
    assert!(html.chars().all(|c| c == '\n' || !c.is_control()));
    // It is XML but for elements that have no end.
    let whole = html
        .replace("<!DOCTYPE html>\n", "")
        .replace("<meta charset=\"utf-8\">", "")
        .replace("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">", "")
        .replace("<meta name=\"color-scheme\" content=\"light dark\">", "");
    let document = Document::parse(&whole).unwrap_or_else(|error| panic!("{error}"));
    let mut ids = BTreeSet::new();
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        assert!(!REFUSED.contains(&name), "{name}");
        for attribute in node.attributes() {
            let (key, value) = (attribute.name(), attribute.value());
            assert!(!["src", "href", "srcset", "data", "action"].contains(&key), "{key}");
            assert!(!key.starts_with("on"), "{key}");
            let local = value.matches("url(").count() == value.matches("url(#").count();
            assert!(local && !value.contains("http"), "{value}");
            let finite = !value.contains("NaN") && !value.contains("inf");
            assert!(finite, "{key} of {name}: {}", super::text::short(value, 400));
            assert!(key != "id" || ids.insert(value), "{value} twice");
        }
        if name == "style" {
            let style = node.text().unwrap();
            assert!(["url(", "@import", "http"].iter().all(|outside| !style.contains(outside)));
        }
        if name == "table" {
            let rows = node.descendants().filter(|node| node.has_tag_name("tr"));
            let widths = rows.map(|row| row.children().filter(Node::is_element).count());
            assert_eq!(widths.collect::<BTreeSet<_>>().len(), 1);
        }
    }
    for used in html.split("var(").skip(1) {
        let name = used.split(')').next().unwrap();
        // That one is given to each element that has it.
        let given = name == "--c" || html.contains(&format!("{name}: #"));
        assert!(given, "{name} has no value");
    }
    for svg in drawings(html) {
        Document::parse(svg).unwrap_or_else(|error| panic!("{error}"));
    }
    drawings(html).len()
}

#[test]
fn a_page_stands_alone_and_is_of_reasonable_size() {
    let html = html(&synthetic::ablation(8, 3));
    // Curves of losses, costs, MaxVio; of 6 variants 2 layers each in two sections; speed.
    assert_eq!(check(&html), 3 + 2 + 1 + 6 * 2 * 2 + 1);
    assert!(html.len() < 3_000_000, "{}", html.len());
}

#[test]
fn a_page_is_the_same_each_time() {
    let results = synthetic::ablation(3, 2);
    assert_eq!(html(&results), html(&results));
}

#[test]
fn nothing_gives_a_page_that_says_so() {
    let found = html(&[]);
    assert_eq!(check(&found), 0);
    assert!(found.contains("Nothing has finished yet."));
    assert!(summary(&[]).to_string().contains("variant"));
}

#[test]
fn runs_that_are_missing_are_said() {
    let missing = ["mla, seed 2: <failed>".to_owned()];
    let results = synthetic::ablation(1, 1);
    let ablation = Ablation { title: "t", results: &results, missing: &missing, command: "c" };
    let html = page(&ablation).render();
    check(&html);
    assert!(html.contains("mla, seed 2: &lt;failed&gt;"));
}

#[test]
fn one_seed_has_no_spread_and_the_page_says_it() {
    let found = html(&synthetic::ablation(3, 1));
    check(&found);
    assert!(!found.contains('±') && found.contains("There is one seed"));
    assert!(!summary(&synthetic::ablation(3, 1)).to_string().contains('±'));
    let found = html(&synthetic::ablation(3, 2));
    assert!(found.contains('±') && !found.contains("There is one seed"));
}

#[test]
fn sixty_variants_give_a_page_that_can_be_used() {
    let html = html(&synthetic::ablation(60, 2));
    check(&html);
    assert!(html.len() < 6_000_000, "{}", html.len());
    assert!(
        html.contains("Variants 9 to 15")
            && html.contains("Without figures here: 42 more variants.")
    );
}

#[test]
fn layers_without_a_figure_are_counted() {
    let mut run = synthetic::run("deep", 0, 0, 8);
    let balance = run.balance.as_mut().unwrap();
    let load = balance.loads[&1].clone();
    balance.loads = (3..12).map(|layer| (layer, load.clone())).collect();
    let html = html(&[run]);
    assert_eq!(check(&html), 3 + 2 + 1 + 6 + 2 + 1);
    assert!(html.contains("Without a figure here: 3 more layers."));
}

#[test]
fn differences_are_between_the_same_seeds() {
    let mut results = synthetic::ablation(2, 3);
    for run in &mut results {
        // Seeds are far apart, and the second variant is always half a nat worse.
        run.loss = run.seed as f64 + if run.variant == "mha" { 0.5 } else { 0.0 };
    }
    let found = html(&results);
    assert!(found.contains("1.0 ± 1.0") && found.contains("+0.500 ± 0.000"));
    let table = summary(&results).to_string();
    assert!(table.contains("1.0 ± 1.0") && table.contains("+0.500 ± 0.000"), "{table}");
}

#[test]
fn the_summary_fits_100_columns() {
    let mut results = synthetic::ablation(8, 3);
    results[7].tokens_per_second = 123_456.0;
    results[6].total_parameters = 671_026_419_200;
    let table = summary(&results).to_string();
    for line in table.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

/// Writes pages to look at.
#[test]
#[ignore = "leaves files in the folder of temporary files"]
fn pages_to_look_at() {
    let dir = std::env::temp_dir().join("latent-report");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, results) in [
        ("eight", synthetic::ablation(8, 3)),
        ("sixty", synthetic::ablation(60, 2)),
        ("hostile", hostile::results()),
        ("one", synthetic::ablation(1, 1)),
        ("none", vec![]),
    ] {
        std::fs::write(dir.join(name).with_extension("html"), html(&results)).unwrap();
        eprintln!("{}", summary(&results));
    }
}
