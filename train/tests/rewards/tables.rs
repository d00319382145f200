//! Each rule is its truth table.

use latent_train::rewards::{Match, ModeKind, Script, soft_overlong};

use crate::page::{number, rows, text, words};
use crate::{judge, read, rules, same};

#[test]
fn the_form_is_the_table() {
    let settings = ["", "begins_inside = true", "empty_thinking = true"];
    let rules = settings.map(|settings| read(settings).rules().unwrap());
    for row in rows("Form") {
        let completion = text(row[0]);
        for (rules, wanted) in rules.iter().zip(&row[1..]) {
            let found = judge(rules, &completion).form.to_string();
            assert_eq!(found, words(wanted), "{completion:?}, {rules:?}");
        }
    }
}

#[test]
fn match_is_the_table() {
    for row in rows("Match") {
        let (known, answer) = (text(row[0]), text(row[1]));
        for (rule, wanted) in [(Match::Exact, row[2]), (Match::Numeric, row[3])] {
            let found = if rule.holds(&known, &answer) { "yes" } else { "no" };
            assert_eq!(found, wanted, "{rule:?}: {answer:?} for {known:?}");
        }
    }
}

#[test]
fn a_numeric_match_does_not_depend_on_who_is_known() {
    for row in rows("Match") {
        let (known, answer) = (text(row[0]), text(row[1]));
        if Match::Numeric.holds(&known, &answer) {
            assert!(Match::Numeric.holds(&answer, &known), "{answer:?} and {known:?}");
        }
    }
}

#[test]
fn length_is_the_table() {
    for row in rows("Length") {
        let found = soft_overlong(row[0].parse().unwrap(), 100, 40);
        assert!(same(found, number(row[1])), "{found} for {}", row[0]);
    }
    // Bounds that the settings refuse give a number all the same.
    for (tokens, max, cache) in
        [(0, 0, 0), (1, 0, 0), (5, 5, 0), (3, 5, 9), (u64::MAX, u64::MAX, 1)]
    {
        assert!((-1.0..=0.0).contains(&soft_overlong(tokens, max, cache)));
    }
}

#[test]
fn language_is_the_table() {
    for row in rows("Language") {
        let thoughts = text(row[0]);
        let scripts = [Script::Latin, Script::Han, Script::Cyrillic, Script::Greek];
        for (script, wanted) in scripts.into_iter().zip(&row[1..]) {
            let found = script.share(&thoughts);
            assert!(same(found, number(wanted)), "{script:?}: {found} of {thoughts:?}");
        }
    }
}

#[test]
fn gated_and_added_are_the_table() {
    for row in rows("Gated and added") {
        let think = if row[0] == "right" { "<think>" } else { "" };
        let answer = if row[1] == "right" { "42" } else { "41" };
        let text = format!("{think}6*7</think><answer>{answer}</answer>");
        for (mode, wanted) in [(ModeKind::Gated, row[2]), (ModeKind::Added, row[3])] {
            let found = judge(&rules(mode), &text).reward;
            assert!(same(found, number(wanted)), "{found} for {text}");
        }
    }
}

#[test]
fn published_rules_are_judged_by_the_same_holes() {
    let names = |section| rows(section).into_iter().map(|row| row[0]).collect::<Vec<_>>();
    assert_eq!(names("What published rules say"), names("Holes"));
    for (holes, peers) in rows("Holes").into_iter().zip(rows("What published rules say")) {
        let form = if holes[2] == "correct" { "1" } else { "0" };
        assert_eq!((peers[4], peers[5]), (form, holes[3]), "{}", holes[0]);
    }
}
