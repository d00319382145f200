//! Rewards are what the tables of the book say, and no hole pays.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "rewards/holes.rs"]
mod holes;
#[path = "rewards/page.rs"]
mod page;
#[path = "rewards/probe.rs"]
mod probe;
#[path = "rewards/settings.rs"]
mod settings;
#[path = "rewards/tables.rs"]
mod tables;

use latent_train::rewards::{
    Completion, Finish, Judgement, Known, Match, ModeKind, RewardConfig, Rules,
};

/// The known answer, as in the page.
const KNOWN: Known<'static> = Known { answer: "42", rule: Match::Numeric };

fn rules(mode: ModeKind) -> Rules {
    RewardConfig { mode, ..RewardConfig::default() }.rules().unwrap()
}

fn read(settings: &str) -> RewardConfig {
    toml::from_str(settings).unwrap()
}

fn ended(text: &str) -> Completion<'_> {
    Completion { text, tokens: 10, finish: Finish::Stop }
}

fn judge<'a>(rules: &Rules, text: &'a str) -> Judgement<'a> {
    rules.judge(&ended(text), &KNOWN)
}

/// Whether two numbers are the same: all of them here are exact.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a == 0.0 && b == 0.0)
}

#[test]
fn a_judgement_says_what_it_is_made_of() {
    let settings = "mode = 'added'\nform_weight = 0.25\nmatch_weight = 2.0\nlanguage = 'latin'\n\
                    language_weight = 0.5\noverlong = 'soft'\nmax_tokens = 100\ncache_tokens = 40";
    let rules = read(settings).rules().unwrap();
    let text = "<think> ab 加加 </think><answer> 42.0 </answer>";
    let completion = Completion { text, tokens: 80, finish: Finish::Length };
    let found = rules.judge(&completion, &KNOWN);
    assert_eq!((found.thinking, found.answer), ("ab 加加", Some("42.0")));
    assert!(found.matched && !found.masked);
    let parts = found.parts;
    let parts = [parts.form, parts.matched, parts.language, parts.length];
    for (part, wanted) in parts.into_iter().zip([0.25, 2.0, 0.25, -0.5]) {
        assert!(same(part, wanted), "{parts:?}");
    }
    assert!(same(found.reward, 2.0));
}

#[test]
fn in_gated_mode_language_counts_where_the_answer_does() {
    let rules = read("language = 'latin'\nlanguage_weight = 0.5").rules().unwrap();
    for (text, wanted) in [
        ("<think>sum</think><answer>42</answer>", 1.5),
        ("<think>和</think><answer>42</answer>", 1.0),
        ("<think>sum</think><answer>41</answer>", 0.0),
        ("sum</think><answer>42</answer>", 0.0),
    ] {
        assert!(same(judge(&rules, text).reward, wanted), "{text}");
    }
}

#[test]
fn what_was_cut_off_is_masked_where_that_is_asked_for() {
    let text = "<think>6*7=42</think><answer>42</answer>";
    let cut = Completion { text, tokens: 10, finish: Finish::Length };
    for mode in ["gated", "added"] {
        let hard = read(&format!("mode = '{mode}'\noverlong = 'hard'")).rules().unwrap();
        let found = hard.judge(&cut, &KNOWN);
        assert!(found.masked && found.matched && same(found.reward, 0.0));
        let found = hard.judge(&ended(text), &KNOWN);
        assert!(!found.masked && found.reward > 0.5);
    }
    let judged = rules(ModeKind::Gated).judge(&cut, &KNOWN);
    assert!(!judged.masked && same(judged.reward, 1.0));
}

#[test]
fn a_problem_says_itself_what_is_right() {
    use latent_train::tasks::{Part, Task};
    let task = Task::new(&toml::from_str("kind.countdown = {}").unwrap()).unwrap();
    let problem = task.problem(0, Part::Train);
    let rules = rules(ModeKind::Gated);
    let (worked, answer) = (problem.worked().unwrap(), &problem.answer);
    let text = format!("<think>{worked}</think><answer> ({answer}) </answer>");
    assert!(same(rules.judge(&ended(&text), &problem).reward, 1.0));
    let target = worked.rsplit('=').next().unwrap();
    let text = format!("<think>{worked}</think><answer>{target}</answer>");
    assert!(same(rules.judge(&ended(&text), &problem).reward, 0.0));
}
