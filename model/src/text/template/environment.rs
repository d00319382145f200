//! The engine under a chat template: transformers' dialect, with limits.

use std::collections::BTreeMap;

use minijinja::machinery::{self, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use crate::text::TextError;
use crate::text::template::{charged, syntax};

/// The most work of one rendering, in instructions, items visited or 64 bytes of text made.
const FUEL: u64 = 2_000_000;
/// The deepest nesting of calls and blocks.
const RECURSION: usize = 200;
/// The name of every template.
const NAME: &str = "chat_template";
/// Marks a refusal among the engine's errors.
const RAISED: &str = "raise_exception: ";

/// An environment for templates; proves that `source` is one.
pub(super) fn new(source: &str) -> Result<Environment<'static>, TextError> {
    let mut environment = Environment::new();
    charged::install(&mut environment);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.add_function("raise_exception", raise);
    environment.add_filter("tojson", to_json);
    compile(source)?;
    Ok(environment)
}

fn compile(source: &str) -> Result<Instructions<'_>, TextError> {
    let config = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    let config = config.map_err(|e| failed(&e))?;
    syntax::check(source, config.clone())?;
    charged::compile(NAME, source, config).map_err(|e| failed(&e))
}

/// Renders `source` in its `environment`.
pub(super) fn render(
    environment: &Environment<'_>,
    source: &str,
    context: serde_json::Map<String, serde_json::Value>,
    date: Option<&str>,
) -> Result<String, TextError> {
    let mut context: BTreeMap<String, Value> =
        context.into_iter().map(|(name, value)| (name, from_json(value))).collect();
    if let Some(date) = date.map(str::to_owned) {
        let now = Value::from_function(move |_format: &str| date.clone());
        context.insert("strftime_now".into(), now);
    }
    let (instructions, blocks) = (compile(source)?, BTreeMap::new());
    let mut text = String::new();
    let mut output = machinery::make_string_output(&mut text);
    let none = minijinja::AutoEscape::None;
    machinery::eval(environment, &instructions, Value::from(context), &blocks, &mut output, none)
        .map_err(|e| failed(&e))?;
    Ok(text)
}

fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(x) => x.into(),
        serde_json::Value::String(x) => x.into(),
        serde_json::Value::Array(all) => all.into_iter().map(from_json).collect(),
        serde_json::Value::Object(all) => {
            let all = all.into_iter().map(|(k, v)| (k, from_json(v)));
            Value::from(all.collect::<BTreeMap<String, Value>>())
        }
        serde_json::Value::Number(x) => match (x.as_i64(), x.as_u64()) {
            (Some(x), _) => x.into(),
            (None, Some(x)) => x.into(),
            (None, None) => x.as_f64().into(),
        },
    }
}

fn raise(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: the engine's own filter
/// also escapes what HTML gives a meaning.
fn to_json(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let before = charged::spent(state);
    charged::pay(state, value, 0)?;
    // Each item has a line, which is indented once for each of the containers around it.
    let items = charged::spent(state).saturating_sub(before);
    state.consume_fuel(items.saturating_mul(indent.unwrap_or(0) as u64))?;
    let none = Kwargs::from_iter::<[(&str, Value); 0]>([]);
    let escaped = minijinja::filters::tojson(value, indent.map(Value::from), none)?;
    let escaped = escaped.to_string();
    state.consume_fuel(escaped.len() as u64 / 4)?;
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped.as_str();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let html = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        match html.iter().find(|(code, _)| rest[at..].starts_with(code)) {
            Some((code, c)) => {
                text.push(*c);
                rest = &rest[at + code.len()..];
            }
            None => {
                text.push_str(&rest[at..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    text.push_str(rest);
    Ok(text)
}

fn failed(e: &Error) -> TextError {
    let line = e.line().unwrap_or(1);
    let detail = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
    match e.kind() {
        ErrorKind::OutOfFuel => {
            let limit = format!("{FUEL} instructions or {} bytes of text made", FUEL * 64);
            TextError::TemplateLimit { line, limit }
        }
        ErrorKind::InvalidOperation if detail.starts_with(RAISED) => {
            TextError::Raised { message: detail[RAISED.len()..].into() }
        }
        ErrorKind::InvalidOperation if detail.contains("recursion limit") => {
            TextError::TemplateLimit {
                line,
                limit: format!("{RECURSION} nested calls, {} nested lists", charged::DEPTH),
            }
        }
        kind => TextError::Template { line, detail: format!("{kind}: {detail}") },
    }
}
