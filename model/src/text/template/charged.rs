//! Operators that pay for what they make.
//!
//! The engine joins lists lazily and shares them, for next to no fuel: 60 doublings of a list are
//! a few hundred instructions, and more items than memory holds. Here each instruction that makes
//! a container is replaced by a call of a function that visits all of it, one fuel for each item
//! and each 64 bytes of text in it, and that refuses what is nested too deeply. Comparisons, tests,
//! methods and filters that look at all of a value pay for it in the same way. No other name can
//! reach the functions of the operators: theirs are no identifiers.

use std::collections::BTreeMap;

use minijinja::formatting::FormatStyle;
use minijinja::machinery::{CodeGenerator, Instruction, Instructions, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, context, filters, tests};

use crate::text::template::{formats, namespaces};

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
    let mut instructions = namespaces::guard(&generator.finish().0);
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
            Instruction::GetItem => Instruction::CallFunction("[.]", Some(2)),
            Instruction::Eq => Instruction::CallFunction("==", Some(2)),
            Instruction::Ne => Instruction::CallFunction("!=", Some(2)),
            Instruction::Lt => Instruction::CallFunction("<", Some(2)),
            Instruction::Lte => Instruction::CallFunction("<=", Some(2)),
            Instruction::Gt => Instruction::CallFunction(">", Some(2)),
            Instruction::Gte => Instruction::CallFunction(">=", Some(2)),
            Instruction::CallMethod("cycle", n) => Instruction::CallFunction(".cycle", *n),
            Instruction::CallMethod("changed", n) => Instruction::CallFunction(".changed", *n),
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
    install_comparisons(environment);
    namespaces::install(environment);
    environment.add_function("[.]", item);
    environment.add_function(".cycle", |state: &mut State, all: Rest<Value>| {
        let wanted = "cycle: found no values, want at least one";
        if all.len() < 2 {
            return Err(Error::new(ErrorKind::InvalidOperation, wanted));
        }
        all[0].call_method(state, "cycle", &all[1..])
    });
    environment.add_function(".changed", |state: &mut State, all: Rest<Value>| {
        all[1..].iter().try_for_each(|value| pay(state, value, 0))?;
        all[0].call_method(state, "changed", &all[1..])
    });
    environment.add_filter("format", formats::filter);
    environment.add_filter("pprint", |state: &State, value: Value| {
        paid(state, value).map(|value| filters::pprint(&value))
    });
    environment.set_unknown_method_callback(method);
}

/// Python's methods of strings, lists and maps.
fn method(
    state: &mut State,
    object: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    pay(state, object, 0)?;
    arguments.iter().try_for_each(|argument| pay(state, argument, 0))?;
    match (name, object.as_str()) {
        ("format", Some(text)) => formats::format(state, FormatStyle::StrFormat, text, arguments),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, object, name, arguments),
    }
}

fn install_comparisons(environment: &mut Environment<'_>) {
    type Comparison = fn(&Value, &Value) -> bool;
    let comparisons: [(&[&'static str], Comparison); 6] = [
        (&["==", "eq", "equalto"], tests::is_eq),
        (&["!=", "ne"], tests::is_ne),
        (&["<", "lt", "lessthan"], tests::is_lt),
        (&["<=", "le"], tests::is_le),
        (&[">", "gt", "greaterthan"], tests::is_gt),
        (&[">=", "ge"], tests::is_ge),
    ];
    for (names, compare) in comparisons {
        let paid = move |state: &State, a: Value, b: Value| {
            pay(state, &a, 0)?;
            pay(state, &b, 0)?;
            Ok::<bool, Error>(compare(&a, &b))
        };
        names.iter().for_each(|name| environment.add_test(*name, paid));
        environment.add_function(names[0], paid);
    }
    type Ordering = fn(&State, Value, Kwargs) -> Result<Value, Error>;
    let orderings: [(&'static str, Ordering); 4] = [
        ("sort", filters::sort),
        ("unique", filters::unique),
        ("min", filters::min),
        ("max", filters::max),
    ];
    for (name, order) in orderings {
        environment.add_filter(name, move |state: &State, value: Value, options: Kwargs| {
            order(state, paid(state, value)?, options)
        });
    }
}

/// The arguments of a call, those with a name as the last.
pub(super) fn with_named(mut arguments: Rest<Value>, named: Kwargs) -> Vec<Value> {
    if named.args().next().is_some() {
        arguments.push(named.into());
    }
    arguments.0
}

/// The fuel that was taken so far.
pub(super) fn spent(state: &State) -> u64 {
    state.fuel_levels().map_or(0, |(spent, _)| spent)
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

fn item(state: &State, a: Value, b: Value) -> Result<Value, Error> {
    if a.as_str().is_some() {
        pay(state, &a, 0)?;
    }
    a.get_item(&b)
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
