//! Pages of runs of reinforcement learning.

use latent_train::rl::{RlHistory, Verdict};

use super::{check, drawings};
use crate::report::rl::{RlRun, page, summary};

mod synthetic;

use synthetic::run;

fn html(runs: &[RlRun]) -> String {
    page(runs, "latent report 'a & b'").render()
}

#[test]
fn a_page_of_a_run_stands_alone_and_has_a_figure_for_each_quantity() {
    let run = run("/runs/gated", 0, 300);
    let found = html(std::slice::from_ref(&run));
    // Held out; the reward and what is equal; lengths; entropy and norm; experts and speed.
    assert_eq!(check(&found), 4 + 2 + 3 + 2 + 2);
    assert!(found.len() < 400_000, "{}", found.len());
    assert!(found.contains("all of it for being right"));
    assert!(found.contains("No ratio of probabilities was clipped."));
    assert_eq!(found, html(&[run.clone(), run]), "a folder twice is one run");
}

#[test]
fn what_only_some_runs_have_is_shown_where_one_has_it() {
    let mut all = run("/runs/all", 0, 50);
    for point in &mut all.history.steps {
        point.kl = Some(0.01 * point.step as f64);
        (point.clip_low, point.clip_high) = (0.001, 0.002);
        point.stats.parts.form = 0.1;
        point.stats.parts.length = -0.2;
    }
    let html = html(&[run("/runs/few", 0, 50), all]);
    // Two more of the reward and the part for matches; the divergence; two ratios.
    assert_eq!(check(&html), 13 + 3 + 1 + 2);
    assert!(!html.contains("all of it for being right") && !html.contains("No ratio of"));
    assert!(html.contains("1 few") && html.contains("2 all"));
}

#[test]
fn seeds_are_one_curve_with_their_spread() {
    let seeds = |name: &str| [3, 1, 2].map(|seed| run(&format!("/r/{name}/seed-{seed}"), seed, 60));
    let found = html(&[seeds("gated"), seeds("added")].concat());
    assert_eq!(check(&found), 13);
    assert!(found.contains("2 recipes in 6 runs"));
    assert!(found.contains("1 gated") && found.contains("2 added") && !found.contains("seed-"));
    assert!(found.contains('±') && found.contains("its band goes from the lowest"));
    assert!(found.contains("(3 seeds)"));
    let one = html(&seeds("gated")[..1]);
    assert!(!one.contains('±') && !one.contains("its band"));
    assert!(one.contains("One run of up to 60 steps"));
}

#[test]
fn answers_to_a_question_stand_side_by_side() {
    let found = html(&[run("/runs/gated", 0, 300)]);
    let panels = |text: &str| text.matches("<div class=\"panel\">").count();
    // 8 questions, each with three answers.
    assert_eq!(panels(&found), 8 * (1 + 3));
    let rest = found.split("17+45+8=?").nth(1).unwrap();
    let first = rest.split("<div class=\"panel\">").skip(1).take(3).collect::<Vec<_>>();
    let said = ["✗ wrong form", "✗ wrong", "✓ right"];
    for ((panel, step), said) in first.iter().zip([0, 150, 300]).zip(said) {
        assert!(panel.contains(&format!("<strong>step {step}</strong>")), "{panel}");
        assert!(panel.contains(said), "{panel}");
    }
    assert!(first[0].contains("reward 0.00, cut off") && first[2].contains("reward 1.00"));
    assert!(first[2].contains("&lt;think&gt;17 + 45 = 62\n62 + 8 = 70&lt;"), "{first:?}");
    assert!(found.contains("known answer: 70") && found.contains("5 more questions"));
    // A run that was evaluated once has one answer to show, and whose verdict nobody noted has no mark.
    let mut once = run("/runs/gated", 0, 300);
    once.history.evaluations.truncate(1);
    once.history.evaluations[0].1.samples.iter_mut().for_each(|s| s.verdict = Verdict::Unknown);
    let found = html(&[once]);
    check(&found);
    assert!(panels(&found) == 8 * 2 && !found.contains('✗') && !found.contains('✓'));
}

#[test]
fn what_a_model_wrote_is_text_whatever_it_is() {
    let mut hostile = run("/runs/<script>alert(1)</script>\u{1}\0", 0, 40);
    let text = "\n</code></pre><script>alert('x')</script> <img src=x onerror=y> {{ 7 * 7 }}\r\n\t\
                \u{1b}[31m\0\u{1}\u{202e}turned &amp; <b>";
    let long = "<b>é\n".repeat(5000);
    for (_, found) in &mut hostile.history.evaluations {
        found.samples[0].text = text.into();
        found.samples[1].text = long.clone();
        found.samples[2].text = String::new();
        for sample in &mut found.samples {
            sample.question = format!("{}{text}", sample.question);
            sample.answer = text.into();
            sample.reward = 1e300;
        }
    }
    hostile.settings = Err("/runs/<b>/latest: names \u{1b}[31mnothing".into());
    let found = html(&[hostile]);
    check(&found);
    assert!(found.contains("<code>\n&lt;"), "a line break at the beginning stays");
    assert!(found.contains("{{ 7 * 7 }}\n ") && found.contains("turned &amp;amp; &lt;b&gt;"));
    assert!(found.contains("the first of 25,000 characters"));
    assert!(found.contains("latest: names \u{fffd}[31mnothing"));
    assert!(found.len() < 700_000, "{}", found.len());
}

#[test]
fn numbers_that_no_axis_has_room_for_leave_a_page() {
    let mut wild = run("/runs/wild", 0, 90);
    for (i, point) in wild.history.steps.iter_mut().enumerate() {
        let value = [1e308, -1e308, 0.0, 1e-300][i % 4];
        point.stats.reward = value;
        point.stats.thinking = value;
        point.grad_norm = value;
        (point.seconds, point.rollout_seconds) = (0.0, value);
        point.step = u64::MAX - 90 + i as u64;
        point.questions = u64::MAX;
        point.max_vio.values_mut().for_each(|vio| *vio = value);
    }
    wild.history.evaluations[0].1.stats.thinking = 0.0;
    wild.history.evaluations[3].1.stats.accuracy = 1e300;
    check(&html(std::slice::from_ref(&wild)));
    let table = summary(&[wild]).to_string();
    assert!(table.contains("wild"), "{table}");
}

#[test]
fn a_run_without_lines_or_without_evaluations_has_a_page_that_says_so() {
    let mut none = run("/runs/none", 0, 5);
    none.history = RlHistory::default();
    none.settings = Ok(None);
    let found = html(std::slice::from_ref(&none));
    assert_eq!(check(&found), 0);
    assert!(found.contains("Nothing was asked yet."));
    assert!(summary(&[none.clone()]).to_string().contains("– → –"));
    let mut steps = run("/runs/steps", 0, 5);
    steps.history.evaluations.clear();
    assert_eq!(check(&html(&[steps, none.clone()])), 13 - 4);
    let mut evaluated = run("/runs/evaluated", 0, 5);
    evaluated.history.steps.clear();
    evaluated.history.evaluations.truncate(1);
    assert_eq!(check(&html(&[evaluated])), 4);
    assert_eq!(check(&html(&[])), 0);
}

#[test]
fn a_long_run_is_drawn_by_few_points_and_the_page_says_so() {
    let short = html(&[run("/runs/short", 0, 30)]);
    assert!(!short.contains("Means of"));
    let found = html(&[run("/runs/long", 0, 5000)]);
    check(&found);
    // 11 points of 25 steps: five on each side.
    assert!(found.contains("Means of 275 steps; faint: of 25."));
    let points = |svg: &str| {
        let lines = svg.split("<path d=\"").skip(1);
        let count = |line: &str| line.split('"').next().unwrap().matches(['M', 'L']).count();
        lines.map(count).max().unwrap_or(0)
    };
    assert_eq!(drawings(&found).into_iter().map(points).max(), Some(200));
    assert!(found.len() < 400_000, "{}", found.len());
}

#[test]
fn twenty_runs_are_folded_and_their_table_fits_100_columns() {
    let name = |i: u64| format!("/data/{i}-{}", "a-name-that-goes-on".repeat(4));
    let runs: Vec<RlRun> = (0..20).map(|i| run(&name(i), i, 40)).collect();
    let found = html(&runs);
    check(&found);
    assert!(found.contains("Runs 9 to 15") && found.contains("Runs 16 to 20"));
    for line in summary(&runs).to_string().lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn settings_are_those_of_the_first_and_what_others_change() {
    let mut added = run("/runs/added", 0, 5);
    added.settings = Ok(Some(serde_json::json!({ "grpo": { "beta": 0.5 } })));
    let found = html(&[run("/runs/gated", 0, 5), added]);
    check(&found);
    assert!(found.contains("grpo.beta = 0.5, no reward.mode"));
    assert!(found.contains("The settings of the first run, gated") && !found.contains("run.seed"));
}

/// Writes pages to look at.
#[test]
#[ignore = "leaves files in the folder of temporary files"]
fn pages_to_look_at() {
    let dir = std::env::temp_dir().join("latent-report");
    std::fs::create_dir_all(&dir).unwrap();
    let seeds =
        |name: &str| [1, 2, 3].map(|seed| run(&format!("/r/{name}/seed-{seed}"), seed, 300));
    for (name, runs) in [
        ("rl-one", vec![run("/runs/gated", 0, 300)]),
        ("rl-seeds", [seeds("gated"), seeds("added")].concat()),
        ("rl-twenty", (0..20).map(|i| run(&format!("/runs/{i}"), i, 40)).collect()),
    ] {
        std::fs::write(dir.join(name).with_extension("html"), html(&runs)).unwrap();
        eprintln!("{}", summary(&runs));
    }
}
