//! Settings of rewards, and what is refused.

use latent_train::rewards::{R1_TEMPLATE, RewardConfig, TINY_TEMPLATE, Template};

use crate::read;

#[test]
fn settings_that_cannot_be_are_named() {
    for (settings, wanted) in [
        ("match_weight = -1.0", "reward.match_weight: found -1, want from 0 to 1000"),
        ("match_weight = nan", "reward.match_weight: found NaN, want from 0 to 1000"),
        ("match_weight = inf", "reward.match_weight: found inf, want from 0 to 1000"),
        (
            "mode = 'added'\nform_weight = 1e9",
            "reward.form_weight: found 1000000000, want from 0 to 1000",
        ),
        (
            "language = 'han'\nlanguage_weight = -0.5",
            "reward.language_weight: found -0.5, want from 0 to 1000",
        ),
        ("form_weight = 1.0", r#"reward.form_weight: has no meaning with mode = "gated""#),
        ("language_weight = 1.0", "reward.language_weight: has no meaning without language"),
        ("max_tokens = 5", r#"reward.max_tokens: has no meaning but with overlong = "soft""#),
        (
            "overlong = 'hard'\ncache_tokens = 5",
            r#"reward.cache_tokens: has no meaning but with overlong = "soft""#,
        ),
        ("overlong = 'soft'", r#"reward.max_tokens: missing; overlong = "soft" wants it"#),
        (
            "overlong = 'soft'\nmax_tokens = 5",
            r#"reward.cache_tokens: missing; overlong = "soft" wants it"#,
        ),
        (
            "overlong = 'soft'\nmax_tokens = 0\ncache_tokens = 0",
            "reward.max_tokens: found 0, want at least 1",
        ),
        (
            "overlong = 'soft'\nmax_tokens = 5\ncache_tokens = 6",
            "reward.cache_tokens: found 6, want from 1 to max_tokens, 5",
        ),
        (
            "template = 'Q'",
            r#"reward.template: found "Q", want r1, tiny, or a text with {question} in it once"#,
        ),
        (
            "template = '{question}{question}'",
            r#"reward.template: found "{question}{question}", want r1, tiny, or a text with {question} in it once"#,
        ),
    ] {
        assert_eq!(read(settings).rules().unwrap_err().to_string(), wanted);
    }
    for unknown in ["colour = 1", "mode = 'free'", "overlong = 'long'", "language = 'french'"] {
        let error = toml::from_str::<RewardConfig>(unknown).unwrap_err().to_string();
        assert!(error.contains("unknown"), "{error}");
    }
}

#[test]
fn settings_are_the_same_after_being_written() {
    let config = read("mode = 'added'\nform_weight = 0.5\nlanguage = 'han'");
    assert_eq!(read(&toml::to_string(&config).unwrap()), config);
}

#[test]
fn the_examples_of_the_page_are_read() {
    use latent_train::tasks::{ExamplesSection, Task, TaskConfig};
    let mut found = Vec::new();
    for example in crate::page::settings() {
        for (section, value) in example {
            match &*section {
                "task" => drop(Task::new(&value.try_into::<TaskConfig>().unwrap()).unwrap()),
                "examples" => drop(value.try_into::<ExamplesSection>().unwrap()),
                _ => drop(value.try_into::<RewardConfig>().unwrap().rules().unwrap()),
            }
            found.push(section);
        }
    }
    assert_eq!(found, ["task", "examples", "reward"]);
}

#[test]
fn a_question_is_put_in_as_it_is() {
    let template = Template::new("r1").unwrap();
    let prompt = template.prompt("{question} <think>");
    assert!(prompt.ends_with("User: {question} <think>. Assistant:"));
    assert_eq!(prompt, R1_TEMPLATE.replacen("{question}", "{question} <think>", 1));
    let tiny = Template::new("tiny").unwrap();
    assert_eq!(tiny.prompt("1+1=?"), "Q: 1+1=?\nA: ");
    assert_eq!(tiny, Template::new(TINY_TEMPLATE).unwrap());
    assert!(!template.begins_inside() && !tiny.begins_inside());
}

#[test]
fn where_completions_begin_is_what_the_template_says_or_the_setting() {
    let text = "a</think><answer>42</answer>";
    for (settings, inside) in [
        ("", false),
        ("template = 'tiny'", false),
        ("template = '{question}<think>'", true),
        ("template = \"{question}<think>\\n\"", true),
        ("template = '<think>{question}'", false),
        ("template = '{question}<think>'\nbegins_inside = false", false),
        ("begins_inside = true", true),
    ] {
        let rules = read(settings).rules().unwrap();
        assert_eq!(crate::judge(&rules, text).reward > 0.5, inside, "{settings}");
    }
}
