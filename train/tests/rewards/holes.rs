//! A test for each hole of the page, named after it.

use std::time::{Duration, Instant};

use latent_train::rewards::{Completion, Finish, Match, ModeKind, R1_TEMPLATE};

use crate::page::{number, rows, text, words};
use crate::{KNOWN, ended, judge, read, rules, same};

/// What the page says of a hole, and what an honest wrong answer earns, is so.
fn is_as_the_page_says(test: &str) {
    let name = test.replace('_', " ");
    let rows = rows("Holes");
    let row = rows.iter().find(|row| row[0] == name).unwrap();
    let completion = text(row[1]);
    for (mode, wanted) in [(ModeKind::Gated, row[3]), (ModeKind::Added, row[4])] {
        let found = judge(&rules(mode), &completion);
        assert_eq!(found.form.to_string(), words(row[2]), "{name}");
        assert!(same(found.reward, number(wanted)), "{name}: {} in {mode:?}", found.reward);
    }
    let honest = judge(&rules(ModeKind::Gated), "<think>6*7=41</think><answer>41</answer>").reward;
    let gated = judge(&rules(ModeKind::Gated), &completion).reward;
    assert!(name == "honest and right" || gated <= honest, "{name} earns {gated}");
}

macro_rules! holes {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            is_as_the_page_says(stringify!($name));
        })*

        #[test]
        fn every_hole_of_the_page_has_a_test() {
            let tests = [$(stringify!($name)),*].map(|name| name.replace('_', " "));
            let page: Vec<&str> = rows("Holes").into_iter().map(|row| row[0]).collect();
            assert_eq!(page, tests);
        }
    };
}

holes! {
    honest_and_right honest_and_wrong long_and_wrong answer_before_thinking
    answer_without_thinking bare_answer answer_inside_of_thinking thinking_inside_of_answer
    answer_inside_of_answer thinking_inside_of_thinking two_answers two_thinks empty_thinking
    empty_answer close_before_open tags_in_another_case tags_with_attributes tags_with_spaces
    several_answers_in_one all_answers_in_one question_for_an_answer no_tokens
    no_end_of_the_answer no_end_of_the_thinking text_before text_between text_behind
    look_alike_tags look_alike_letters look_alike_digits template_repeated
    template_repeated_and_answered
}

#[test]
fn an_added_reward_for_the_form_pays_for_long_wrong_answers_and_gated_does_not() {
    let long = format!("<think>{}</think><answer>1</answer>", "6*7 is 6*7. ".repeat(10_000));
    let completion = Completion { text: &long, tokens: 40_000, finish: Finish::Stop };
    let added = rules(ModeKind::Added).judge(&completion, &KNOWN).reward;
    let right = judge(&rules(ModeKind::Added), "<think>a</think><answer>42</answer>").reward;
    assert!(same(added, 1.0) && same(right, 2.0));
    assert!(same(rules(ModeKind::Gated).judge(&completion, &KNOWN).reward, 0.0));
}

#[test]
fn a_template_that_is_repeated_pays_nothing() {
    let prompt = rules(ModeKind::Gated).prompt("6*7=?");
    let answered = format!("{prompt} <think>6*7</think><answer>42</answer>");
    for text in [R1_TEMPLATE, &prompt, &answered] {
        for mode in [ModeKind::Gated, ModeKind::Added] {
            assert!(same(judge(&rules(mode), text).reward, 0.0), "{text}");
        }
    }
}

#[test]
fn a_second_beginning_pays_nothing_where_the_prompt_has_the_first() {
    let rules = read("template = '{question} <think>'").rules().unwrap();
    assert!(same(judge(&rules, "6*7</think><answer>42</answer>").reward, 1.0));
    assert!(same(judge(&rules, "<think>6*7</think><answer>42</answer>").reward, 0.0));
}

#[test]
fn nothing_that_is_no_answer_is_nothing() {
    let rules = rules(ModeKind::Added);
    for text in ["", "42", "<answer>42", "42</answer>", "</answer>42<answer>"] {
        assert_eq!(judge(&rules, text).answer, None, "{text}");
    }
}

#[test]
fn thinking_is_what_stands_between_the_first_tags() {
    let rules = rules(ModeKind::Gated);
    for (text, thinking) in [
        ("<think> a </think><think>b</think>", "a"),
        ("<think>a<think>b</think>c</think>", "a<think>b"),
        ("</think>a<think>b</think>", ""),
        ("a</think>", ""),
        ("<think>a", ""),
    ] {
        assert_eq!(judge(&rules, text).thinking, thinking, "{text}");
    }
}

#[test]
fn a_megabyte_takes_a_linear_time() {
    let pieces = [
        "<",
        "<think",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "< think",
        "<\u{a0}",
        "<<>>",
        "<think <",
        "</",
        "é<",
        "1",
        "1/",
        "1,000,",
        "(",
        " ",
        "\u{2003}",
        "a",
        "二",
    ];
    let rules = read("mode = 'added'\nlanguage = 'latin'").rules().unwrap();
    let begun = Instant::now();
    for piece in pieces {
        let much = piece.repeat((1 << 20) / piece.len());
        for text in [
            much.clone(),
            format!("<think>{much}</think><answer>{much}</answer>"),
            format!("<think>a</think>{much}<answer>42</answer>"),
        ] {
            assert!(judge(&rules, &text).reward.is_finite());
            assert!(!Match::Numeric.holds("42", &text) && !Match::Exact.holds("42", &text));
        }
    }
    // Sixty texts. Were each byte looked at for each `<`, one alone would take longer.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(same(rules.judge(&ended(""), &KNOWN).reward, 0.0));
}
