//! No mixture of tags pays that is not an honest right answer.

use latent_train::rewards::{ModeKind, RewardConfig};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;

use crate::page::{rows, text};
use crate::{judge, read, rules, same};

const PIECES: [&str; 20] = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "<Think>",
    "<answer >",
    "<think id=1>",
    "</ think>",
    " ",
    "\n",
    "42",
    "41",
    "6*7",
    "<",
    ">",
    "\u{200b}",
];

/// The form and the right answer, by the grammar: an alternative without a scanner of tags.
fn is_honest_and_right(text: &str) -> bool {
    let parts = || {
        let (thoughts, rest) = text.trim().strip_prefix("<think>")?.split_once("</think>")?;
        let answer = rest.trim().strip_prefix("<answer>")?.strip_suffix("</answer>")?;
        Some((thoughts, answer))
    };
    let meant = |text: &str| {
        let text = text.to_lowercase();
        text.split('<').skip(1).any(|rest| {
            let inside = rest.split_once('>').map(|(inside, _)| inside.trim());
            let name = inside.map(|inside| inside.strip_prefix('/').unwrap_or(inside).trim());
            name.is_some_and(|name| {
                ["think", "answer"].contains(&name.split([' ', '\n', '/']).next().unwrap())
            })
        })
    };
    parts().is_some_and(|(thoughts, answer)| {
        !thoughts.trim().is_empty()
            && ["42"].contains(&answer.trim())
            && !meant(thoughts)
            && !meant(answer)
    })
}

/// A change of a text: a piece that is put in, or a part that is left out or doubled.
fn changed(text: &str, (place, length, kind): (Index, usize, usize), piece: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = place.index(characters.len() + 1);
    let end = (at + length).min(characters.len());
    let of = |range: &[char]| range.iter().collect::<String>();
    let (before, part, behind) =
        (of(&characters[..at]), of(&characters[at..end]), of(&characters[end..]));
    match kind {
        0 => before + piece + &part + &behind,
        1 => before + &behind,
        2 => before + piece + &behind,
        _ => before + &part + &part + &behind,
    }
}

fn holds(text: &str) -> Result<(), TestCaseError> {
    let found = judge(&rules(ModeKind::Gated), text);
    let wanted = if is_honest_and_right(text) { 1.0 } else { 0.0 };
    prop_assert!(same(found.reward, wanted), "{text:?} earns {}", found.reward);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_mixture_of_tags_pays_but_an_honest_right_answer(
        pieces in prop::collection::vec(select(&PIECES[..]), 0..12),
    ) {
        holds(&pieces.concat())?;
    }

    #[test]
    fn no_change_of_a_hole_pays_but_an_honest_right_answer(
        hole: Index,
        changes in prop::collection::vec(
            ((any::<Index>(), 0..12_usize, 0..4_usize), select(&PIECES[..])),
            0..4,
        ),
    ) {
        let rows = rows("Holes");
        let mut found = text(rows[hole.index(rows.len())][1]);
        for (change, piece) in changes {
            found = changed(&found, change, piece);
        }
        holds(&found)?;
    }

    #[test]
    fn between_honest_tags_any_answer_but_the_known_one_pays_nothing(
        thoughts in "[^<]{1,20}",
        // Without the digit there is no way to write 42.
        answer in "[^<4/eE]{0,20}",
    ) {
        let text = format!("<think>x{thoughts}</think><answer>{answer}</answer>");
        prop_assert!(same(judge(&rules(ModeKind::Gated), &text).reward, 0.0), "{text:?}");
    }

    #[test]
    fn a_reward_is_a_number_whatever_the_text_and_the_settings(
        pieces in prop::collection::vec(select(&PIECES[..]), 0..12),
        noise: String,
        tokens: u64,
        weight in 0.0..1000.0_f64,
    ) {
        let config = RewardConfig {
            match_weight: weight,
            form_weight: Some(weight),
            language_weight: Some(weight),
            ..read("mode = 'added'\nlanguage = 'latin'\noverlong = 'soft'\nmax_tokens = 9\ncache_tokens = 3")
        };
        let text = noise + &pieces.concat();
        let completion = latent_train::rewards::Completion { tokens, ..crate::ended(&text) };
        let reward = config.rules().unwrap().judge(&completion, &crate::KNOWN).reward;
        prop_assert!((-1.0..=3.0 * weight).contains(&reward));
    }
}
