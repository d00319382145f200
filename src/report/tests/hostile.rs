//! Results that no run should leave.

use std::collections::{BTreeMap, BTreeSet};

use latent_train::ablation::RunResult;
use roxmltree::{Document, Node};

use super::{Ablation, REFUSED, check, drawings, html, page, summary, synthetic};
use crate::report::text::plain;
use crate::report::{Sheet, sheets};

const NAMES: [&str; 5] = [
    "<script>alert('1')</script>",
    "\"quoted\" & 'single' </svg></text>",
    "null\0escape\u{1b}[31m\u{1}\u{202e}turned",
    "$\\alpha$ {{ 7 * 7 }} <img src=x onerror=alert(1)>",
    "a name that goes on and on, longer than any table or figure has room for, and without an end",
];

/// Variants of hostile names, with what can be wrong in numbers.
pub(super) fn results() -> Vec<RunResult> {
    let mut all = Vec::new();
    for (place, name) in NAMES.into_iter().enumerate() {
        for seed in 0..3 {
            all.push(synthetic::run(name, place, seed, 8));
        }
    }
    // All seeds of the first diverge, one of the second does.
    for run in &mut all[..4] {
        run.loss = f64::NAN;
        run.tokens_per_second = f64::INFINITY;
        run.validation = run.validation.iter().map(|(at, _)| (*at, f64::INFINITY)).collect();
        run.training.iter_mut().skip(20).for_each(|point| point.1 = f64::NAN);
        run.kinds.values_mut().for_each(|kind| kind.0 = f64::NAN);
        if let Some(balance) = &mut run.balance {
            balance.max_vio = f64::NAN;
            balance.max_vio_of_steps.iter_mut().for_each(|point| point.1 = f64::NEG_INFINITY);
            balance.loads.values_mut().flatten().for_each(|(_, shares)| shares.fill(f64::NAN));
        }
        if let Some(routing) = &mut run.routing {
            routing.mutual_information = f64::NAN;
            routing.trained.layers.values_mut().flatten().for_each(|row| row.fill(0));
        }
    }
    // A kind that one seed has not, one with a hostile name, layers that differ.
    let third = &mut all[6];
    third.kinds.remove("code");
    third.kinds.insert("<b>kind</b> & \"co\"".into(), (1e300, 1));
    if let Some(balance) = &mut third.balance {
        balance.loads = BTreeMap::from([(7, vec![(5, vec![]), (9, vec![0.5, 0.5])]), (9, vec![])]);
    }
    if let Some(routing) = &mut third.routing {
        routing.trained.kinds[0] = "<b>kind</b> & \"co\"".into();
        routing.trained.layers.insert(40, vec![vec![1, 2], vec![u64::MAX, 4, 5]]);
    }
    // A single point, the same value everywhere, and what no axis has room for.
    all[9].training.truncate(1);
    all[9].validation.truncate(1);
    all[10].training.iter_mut().for_each(|point| point.1 = 3.0);
    all[12].loss = 1e300;
    all[13].loss = -1e300;
    all[12].training[50].1 = 1e308;
    all[13].training[50].1 = -1e308;
    all[12].cache_bytes_per_token = 0;
    all[12].active_parameters = u64::MAX;
    all
}

#[test]
fn hostile_results_give_a_page_of_text_and_drawings() {
    let found = html(&results());
    assert!(check(&found) > 20);
    assert!(found.contains("&lt;script&gt;"));
    assert!(!found.contains("<img") && !found.contains("<b>kind"));
    assert!(found.contains("{{ 7 * 7 }}"), "a name is no template");
    assert!(found.contains("0 of 3 seeds have a loss that is a number"));
    assert!(found.contains("2 of 3 seeds have a loss that is a number"));
    for line in summary(&results()).to_string().lines() {
        assert!(line.chars().count() <= 100 && !line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn figures_of_their_own_are_whole_and_hold_names_as_they_are_given() {
    let ablation = Ablation { title: "A", results: &results(), missing: &[], command: "" };
    let page = page(&ablation);
    let sheets = sheets(&page);
    let names: BTreeSet<&str> = sheets.iter().map(|sheet| sheet.name.as_str()).collect();
    assert!(!sheets.is_empty() && names.len() == sheets.len(), "{names:?}");
    let mut inside = 0;
    for Sheet { name, svg } in &sheets {
        assert!(name.chars().all(|c| c == '-' || c.is_ascii_alphanumeric()), "{name}");
        let document = Document::parse(svg).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut ids = BTreeSet::new();
        for node in document.descendants().filter(Node::is_element) {
            assert!(!REFUSED.contains(&node.tag_name().name()), "{name}");
            assert!(node.attribute("id").is_none_or(|id| ids.insert(id)), "{name}");
        }
        inside += document.descendants().filter(|node| node.has_tag_name("svg")).count() - 1;
    }
    assert_eq!(inside, drawings(&page.render()).len());
    let texts = sheets.iter().map(|sheet| Document::parse(&sheet.svg).unwrap());
    let keys: Vec<String> = texts
        .flat_map(|document| {
            let of_root = document.root_element().children().filter(|n| n.has_tag_name("text"));
            of_root.filter_map(|node| node.text().map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    for result in results() {
        let name = plain(&result.variant);
        assert!(keys.iter().any(|key| key.ends_with(&name)), "{name:?} in {keys:?}");
    }
}

#[test]
fn names_in_drawings_are_as_they_are_given() {
    let found = html(&results());
    let text = |svg: &str| {
        let document = roxmltree::Document::parse(svg).unwrap();
        document.descendants().filter_map(|node| node.text().map(str::to_owned)).collect::<Vec<_>>()
    };
    let all: Vec<String> = drawings(&found).into_iter().flat_map(text).collect();
    for want in ["<b>kind</b> & \"co\"", "2 \"quoted\" & 'single'…", "4 $\\alpha$ {{ 7 * 7 }…"]
    {
        assert!(all.iter().any(|text| text == want), "{want}: {all:?}");
    }
}

#[test]
fn a_single_run_with_a_single_point_has_a_page() {
    let mut run = synthetic::run("one", 0, 0, 1);
    run.training.truncate(1);
    run.validation.truncate(1);
    run.loss = 3.0;
    check(&html(std::slice::from_ref(&run)));
    run.training.clear();
    run.validation.clear();
    run.kinds.clear();
    run.balance = None;
    run.routing = None;
    run.tokens = 0;
    run.settings = serde_json::Value::Null;
    check(&html(&[run]));
}

#[test]
fn runs_that_are_all_the_same_have_axes() {
    let mut results = vec![];
    for (variant, seed) in [("a", 0), ("a", 1), ("b", 0), ("b", 1)] {
        let mut run = synthetic::run("a", 0, 0, 4);
        (run.variant, run.seed) = (variant.into(), seed);
        run.training.iter_mut().for_each(|point| point.1 = 2.0);
        results.push(run);
    }
    assert!(check(&html(&results)) > 0);
}

#[test]
fn a_variant_whose_seeds_all_diverged_is_there_without_numbers() {
    let mut results = synthetic::ablation(2, 2);
    results.iter_mut().filter(|run| run.variant == "mla").for_each(|run| run.loss = f64::NAN);
    let found = html(&results);
    check(&found);
    assert!(found.contains("1 mla") && found.contains("0 of 2 seeds"));
    let rows = summary(&results).to_string();
    let first = rows.lines().find(|line| line.contains("mla")).unwrap();
    assert!(first.contains('–'), "{first}");
}

#[test]
fn seeds_are_counted_where_variants_have_not_the_same() {
    let mut results = synthetic::ablation(3, 3);
    results.truncate(7);
    let found = html(&results);
    check(&found);
    assert!(
        found.contains("(3 seeds)")
            && found.contains("(2 seeds)")
            && !found.contains("over 3 seeds")
    );
    let found = html(&synthetic::ablation(3, 3));
    assert!(!found.contains("(3 seeds)") && found.contains("over 3 seeds"));
}
