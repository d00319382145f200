//! Operators that pay for what they make.
//!
//! The engine joins lists lazily and shares them, for next to no fuel: 60 doublings of a list are
//! a few hundred instructions, and more items than memory holds. Here each instruction that makes
//! a container is replaced by a call of a function that visits all of it, one fuel for each item
//! and each 64 bytes of text in it, and that refuses what is nested too deeply. No other name can
//! reach these functions: theirs are no identifiers.

use std::collections::BTreeMap;

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, context};

/// The deepest nesting of lists and maps.
pub(super) const DEPTH: usize = 64;

/// The instructions of `source`, with operators that pay.
pub(super) fn compile<'s>(
    name: &'s str,
    source: &'s str,
    syntax: SyntaxConfig,
) -> Result<Instructions<'s>, Error> {
    let mut generator = CodeGenerator::new(name, source);
    generator.compile_stmt(&parse(source, name, syntax)?);
    let (mut instructions, _) = generator.finish();
    let count = |n: usize| {
        let many = || Error::new(ErrorKind::SyntaxError, "a literal of more than 65535 items");
        u16::try_from(n).map_err(|_| many())
    };
    for at in 0.. {
        let Some(found) = instructions.get_mut(at) else { break };
        *found = match found {
            Instruction::Add => Instruction::CallFunction("+", Some(2)),
            Instruction::Mul => Instruction::CallFunction("*", Some(2)),
            Instruction::StringConcat => Instruction::CallFunction("~", Some(2)),
            Instruction::Slice => Instruction::CallFunction("[:]", Some(4)),
            Instruction::BuildList(n) | Instruction::BuildTuple(n) => {
                Instruction::CallFunction("[]", n.map(count).transpose()?)
            }
            Instruction::BuildMap(pairs) => {
                Instruction::CallFunction("{}", Some(count(*pairs * 2)?))
            }
            _ => continue,
        };
    }
    Ok(instructions)
}

/// Adds the operators, and what else makes or writes containers.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_function("+", add);
    environment.add_function("*", repeat);
    environment.add_function("~", concat);
    environment.add_function("[:]", slice);
    environment
        .add_function("[]", |state: &State, items: Rest<Value>| paid(state, Value::from(items.0)));
    environment.add_function("{}", |state: &State, items: Rest<Value>| {
        let pairs = items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        paid(state, Value::from(pairs.collect::<BTreeMap<_, _>>()))
    });
    environment.add_function("dict", |state: &State, value: Option<Value>, more: Kwargs| {
        paid(state, minijinja::functions::dict(value, more)?)
    });
    environment.add_filter("string", |state: &State, value: Value| {
        paid(state, value).map(|value| value.to_string())
    });
    environment.set_formatter(|out: &mut Output, state: &mut State, value: &Value| {
        pay(state, value, 0)?;
        minijinja::escape_formatter(out, state, value)
    });
    for nesting in ["batch", "chain", "groupby", "slice", "zip"] {
        environment.remove_filter(nesting);
    }
}

/// Takes fuel for all that is in `value`.
pub(super) fn pay(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    state.consume_fuel(1 + value.as_str().map_or(0, str::len) as u64 / 64)?;
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        return Ok(());
    }
    if depth == DEPTH {
        let detail = format!("recursion limit: {DEPTH} lists and maps in one another");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    for item in value.try_iter()? {
        pay(state, &item, depth + 1)?;
        if value.kind() == ValueKind::Map {
            pay(state, &value.get_item(&item)?, depth + 1)?;
        }
    }
    Ok(())
}

fn paid(state: &State, value: Value) -> Result<Value, Error> {
    pay(state, &value, 0)?;
    Ok(value)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// The items of a list `n` times, one fuel for each.
fn items(state: &State, list: &Value, n: i64, all: &mut Vec<Value>) -> Result<(), Error> {
    for _ in 0..n {
        state.consume_fuel(1)?;
        for item in list.try_iter()? {
            state.consume_fuel(1)?;
            all.push(item);
        }
    }
    Ok(())
}

fn add(state: &State, a: Value, b: Value) -> Result<Value, Error> {
    if !is_list(&a) || !is_list(&b) {
        return plain("a + b", context! { a, b });
    }
    let mut all = Vec::new();
    items(state, &a, 1, &mut all)?;
    items(state, &b, 1, &mut all)?;
    paid(state, Value::from(all))
}

fn repeat(state: &State, a: Value, b: Value) -> Result<Value, Error> {
    let (list, n) = match (is_list(&a), is_list(&b)) {
        (true, false) => (&a, &b),
        (false, true) => (&b, &a),
        _ => return plain("a * b", context! { a, b }),
    };
    let Some(n) = n.as_i64() else { return plain("a * b", context! { a, b }) };
    let mut all = Vec::new();
    items(state, list, n, &mut all)?;
    paid(state, Value::from(all))
}

fn concat(state: &State, a: Value, b: Value) -> Result<Value, Error> {
    pay(state, &a, 0)?;
    pay(state, &b, 0)?;
    plain("a ~ b", context! { a, b })
}

fn slice(state: &State, a: Value, b: Value, c: Value, d: Value) -> Result<Value, Error> {
    if !is_list(&a) {
        return plain("a[b:c:d]", context! { a, b, c, d });
    }
    let mut all = Vec::new();
    items(state, &a, 1, &mut all)?;
    plain("a[b:c:d] | list", context! { a => all, b, c, d })
}

/// What the engine's own operator gives.
fn plain(expression: &str, operands: Value) -> Result<Value, Error> {
    let environment = Environment::new();
    let result = environment.compile_expression(expression).and_then(|e| e.eval(operands));
    result.map_err(|e| Error::new(e.kind(), e.detail().unwrap_or_default().to_owned()))
}
