//! What a namespace may hold.
//!
//! It is the one thing in a template that changes. If it could be set to hold itself, or another
//! one, whatever walks over it (a comparison, a filter) would not end.

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use crate::text::template::charged::{pay, with_named};

/// The function that proves that a namespace may be set to hold a value. No other name can reach
/// it: this is no identifier.
const HOLD: &str = "=";

/// The instructions of a template, with a call of [`HOLD`] before each change of a namespace.
pub(super) fn guard<'s>(found: &Instructions<'s>) -> Instructions<'s> {
    let mut guarded = Instructions::new(found.name(), found.source());
    let mut moved = Vec::new(); // from an old index to the new one
    let mut count = 0;
    for at in 0.. {
        let Some(instruction) = found.get(at) else { break };
        moved.push(count);
        // The value lies on the stack, then the namespace is looked up and changed.
        if matches!(found.get(at + 1), Some(Instruction::SetAttr(_))) {
            add(&mut guarded, Instruction::CallFunction(HOLD, Some(1)), found, at);
            count += 1;
        }
        add(&mut guarded, instruction.clone(), found, at);
        count += 1;
    }
    moved.push(count);
    for at in 0..count {
        if let Some(
            Instruction::Jump(to)
            | Instruction::JumpIfFalse(to)
            | Instruction::JumpIfFalseOrPop(to)
            | Instruction::JumpIfTrueOrPop(to)
            | Instruction::Iterate(to)
            | Instruction::BuildMacro(_, to, _),
        ) = guarded.get_mut(at)
        {
            *to = moved.get(*to as usize).copied().unwrap_or(*to);
        }
    }
    guarded
}

/// Adds an instruction with the place in the source of the one at `at`.
fn add<'s>(
    to: &mut Instructions<'s>,
    instruction: Instruction<'s>,
    found: &Instructions<'s>,
    at: u32,
) {
    let line = found.get_line(at).and_then(|line| u16::try_from(line).ok());
    match (found.get_span(at), line) {
        (Some(span), _) => to.add_with_span(instruction, span),
        (None, Some(line)) => to.add_with_line(instruction, line),
        (None, None) => to.add(instruction),
    };
}

/// Adds [`HOLD`], and a `namespace` that pays for what it is made of.
pub(super) fn install(environment: &mut Environment<'_>) {
    let made = environment.globals().find(|(name, _)| *name == "namespace");
    let made = made.map(|(_, function)| function).unwrap_or_default();
    environment.add_function(
        "namespace",
        move |state: &mut State, held: Rest<Value>, named: Kwargs| {
            let held = with_named(held, named);
            held.iter().try_for_each(|value| pay(state, value, 0))?;
            made.call(state, &held)
        },
    );
    environment.add_function(HOLD, |state: &State, value: Value| {
        pay(state, &value, 0)?;
        prove(&value)?;
        Ok::<Value, Error>(value)
    });
}

/// Proves that nothing in `value`, which was paid for, is or holds a namespace.
fn prove(value: &Value) -> Result<(), Error> {
    let kind = value.as_object().map_or("", |object| object.type_name());
    if ["::Namespace", "::Macro", "::Loop"].iter().any(|held| kind.ends_with(held)) {
        let detail = "a namespace is set to hold a namespace, a macro or a loop, want plain values";
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        return Ok(());
    }
    for item in value.try_iter()? {
        prove(&item)?;
        if value.kind() == ValueKind::Map {
            prove(&value.get_item(&item)?)?;
        }
    }
    Ok(())
}
