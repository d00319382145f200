//! Python's two ways to format, whose widths and precisions are numbers that a template writes.

use minijinja::formatting::FormatStyle;
use minijinja::value::{Kwargs, Rest};
use minijinja::{Error, ErrorKind, State, Value};

use crate::text::template::charged::{pay, spent, with_named};

/// The largest width and precision.
const WIDEST: u64 = 1000;

/// What `text` makes of `arguments`, paid for before it is made: each field may hold all of the
/// arguments and be as wide as the widest.
pub(super) fn format(
    state: &State,
    style: FormatStyle,
    text: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let opening = if matches!(style, FormatStyle::StrFormat) { '{' } else { '%' };
    let mut fields = 0;
    for field in text.split(opening).skip(1) {
        fields += 1;
        for number in specification(style, field).split(|c: char| !c.is_ascii_digit()) {
            if !number.is_empty() && number.parse().map_or(true, |n: u64| n > WIDEST) {
                let detail = format!("width or precision {number}, want at most {WIDEST}");
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
        }
    }
    let before = spent(state);
    arguments.iter().try_for_each(|argument| pay(state, argument, 0))?;
    let once = spent(state).saturating_sub(before);
    // A character of a filling may have four bytes.
    state.consume_fuel((once + WIDEST / 16).saturating_mul(fields))?;
    minijinja::formatting::format(style, text, arguments).map(Value::from)
}

/// The filter of that name: `'%d' | format(1)`.
pub(super) fn filter(
    state: &State,
    text: &str,
    arguments: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    format(state, FormatStyle::Printf, text, &with_named(arguments, named))
}

/// The part of a field, from behind its opening, that says how to format.
fn specification(style: FormatStyle, field: &str) -> &str {
    if matches!(style, FormatStyle::StrFormat) {
        let inside = field.split('}').next().unwrap_or_default();
        return inside.split_once(':').map_or("", |(_, specification)| specification);
    }
    let named = field.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let rest = named.map_or(field, |(_, rest)| rest);
    rest.split(char::is_alphabetic).next().unwrap_or_default()
}
