//! A completion in the right form, or with a defect.

use std::fmt;

/// What is wrong with the form of a malformed example. Its thoughts and its answer are those of its kind.
///
/// | | of `<think>t</think> <answer>a</answer>` is left |
/// | --- | --- |
/// | `unclosed thinking` | `<think>t <answer>a</answer>` |
/// | `untagged thinking` | `t <answer>a</answer>` |
/// | `untagged answer` | `<think>t</think> a` |
/// | `unclosed answer` | `<think>t</think> <answer>a` |
/// | `text behind` | `<think>t</think> <answer>a</answer>`, and `it is a` on a line of its own |
/// | `answer first` | `<answer>a</answer> <think>t</think>` |
///
/// Each is as probable as the others. Where the prompt ends with `<think>` it does not stand here, and the
/// first two are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// `</think>` is missing.
    UnclosedThinking,
    /// `<think>` and `</think>` are.
    UntaggedThinking,
    /// `<answer>` and `</answer>` are.
    UntaggedAnswer,
    /// `</answer>` is.
    UnclosedAnswer,
    /// There is text behind `</answer>`.
    TextBehind,
    /// The answer stands before the thoughts.
    AnswerFirst,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::UnclosedThinking,
        Self::UntaggedThinking,
        Self::UntaggedAnswer,
        Self::UnclosedAnswer,
        Self::TextBehind,
        Self::AnswerFirst,
    ];
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnclosedThinking => "unclosed thinking",
            Self::UntaggedThinking => "untagged thinking",
            Self::UntaggedAnswer => "untagged answer",
            Self::UnclosedAnswer => "unclosed answer",
            Self::TextBehind => "text behind",
            Self::AnswerFirst => "answer first",
        })
    }
}

/// Thoughts and an answer as a completion, which begins with the thoughts where the prompt ends with
/// `<think>`.
pub(super) fn write(
    defect: Option<Defect>,
    begins_inside: bool,
    thoughts: &str,
    answer: &str,
) -> String {
    let open = if begins_inside { "" } else { "<think>" };
    match defect {
        None => format!("{open}{thoughts}</think> <answer>{answer}</answer>"),
        Some(Defect::UnclosedThinking) => format!("{open}{thoughts} <answer>{answer}</answer>"),
        Some(Defect::UntaggedThinking) => format!("{thoughts} <answer>{answer}</answer>"),
        Some(Defect::UntaggedAnswer) => format!("{open}{thoughts}</think> {answer}"),
        Some(Defect::UnclosedAnswer) => format!("{open}{thoughts}</think> <answer>{answer}"),
        Some(Defect::TextBehind) => {
            format!("{open}{thoughts}</think> <answer>{answer}</answer>\nit is {answer}")
        }
        Some(Defect::AnswerFirst) => format!("<answer>{answer}</answer> {open}{thoughts}</think>"),
    }
}
