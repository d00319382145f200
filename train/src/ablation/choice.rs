//! What can stand on an axis.
//!
//! Each choice is a word, some with a number behind a colon, as it stands in a file of settings.

use std::fmt;
use std::str::FromStr;

use crate::config::TrainConfigError;

mod attention;
mod experts;
mod routing;

pub use attention::AttentionChoice;
pub use experts::{ExpertsChoice, FeedForward};
pub use routing::RoutingChoice;

/// `word` and the number behind its colon.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((word, number)) => (word, Some(number)),
        None => (text, None),
    }
}

/// The number behind a colon; `None` where there is neither.
fn number<T: FromStr>(
    axis: &'static str,
    text: &str,
    number: Option<&str>,
    wanted: &str,
) -> Result<Option<T>, TrainConfigError> {
    let wrong = || TrainConfigError::setting(axis, format!("{text:?}"), wanted);
    number.map(|n| n.parse().map_err(|_| wrong())).transpose()
}

/// Writes `word`, and `:number` where there is one.
fn write(f: &mut fmt::Formatter<'_>, word: &str, number: Option<impl fmt::Display>) -> fmt::Result {
    match number {
        Some(number) => write!(f, "{word}:{number}"),
        None => f.write_str(word),
    }
}

/// Reads and writes a choice as its word.
macro_rules! as_text {
    ($($choice:ty),*) => {$(
        impl TryFrom<String> for $choice {
            type Error = TrainConfigError;

            fn try_from(text: String) -> Result<Self, TrainConfigError> {
                text.parse()
            }
        }

        impl From<$choice> for String {
            fn from(choice: $choice) -> Self {
                choice.to_string()
            }
        }
    )*};
}

as_text!(AttentionChoice, ExpertsChoice, FeedForward, RoutingChoice);

#[cfg(test)]
mod tests {
    use super::*;

    fn same<T: FromStr<Err = TrainConfigError> + fmt::Display>(words: &[&str]) {
        for word in words {
            let Ok(found) = word.parse::<T>() else { panic!("{word}") };
            assert_eq!(found.to_string(), *word);
        }
    }

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        same::<AttentionChoice>(&["mha", "gqa", "gqa:2", "mqa", "mla", "mla:32"]);
        same::<FeedForward>(&["dense", "moe"]);
        same::<ExpertsChoice>(&["coarse", "coarse:2", "fine", "shared"]);
        same::<RoutingChoice>(&["none", "aux", "aux:0.01", "bias", "bias:0.001"]);
    }

    #[test]
    fn what_is_no_choice_is_refused_with_those_that_are() {
        let errors = [
            (
                "mlha".parse::<AttentionChoice>().map(drop),
                "ablation.attention: found \"mlha\", want mha, gqa, gqa:GROUPS, mqa, mla or mla:RANK",
            ),
            (
                "mla:".parse::<AttentionChoice>().map(drop),
                "ablation.attention: found \"mla:\", want mha, gqa, gqa:GROUPS, mqa, mla or mla:RANK",
            ),
            (
                "mha:3".parse::<AttentionChoice>().map(drop),
                "ablation.attention: found \"mha:3\", want mha, gqa, gqa:GROUPS, mqa, mla or mla:RANK",
            ),
            (
                "sparse".parse::<FeedForward>().map(drop),
                "ablation.feed_forward: found \"sparse\", want dense or moe",
            ),
            (
                "coarse:1".parse::<ExpertsChoice>().map(drop),
                "ablation.experts: found \"coarse:1\", want coarse, coarse:N with N at least 2, fine or shared",
            ),
            (
                "aux:-1".parse::<RoutingChoice>().map(drop),
                "ablation.routing: found \"aux:-1\", want none, aux, aux:ALPHA, bias or bias:SPEED, of a finite number above 0",
            ),
            (
                "bias:nan".parse::<RoutingChoice>().map(drop),
                "ablation.routing: found \"bias:nan\", want none, aux, aux:ALPHA, bias or bias:SPEED, of a finite number above 0",
            ),
        ];
        for (found, want) in errors {
            assert_eq!(found.map_err(|error| error.to_string()), Err(want.to_owned()));
        }
    }
}
