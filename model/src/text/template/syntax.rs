//! How deep the tree of a template's source may be.
//!
//! The engine reads, compiles and drops the tree by recursion, and has a limit for what is in
//! brackets alone: `not not ...`, `a.b.b ...` and a chain of `elif` make a tree as deep as they are
//! long.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::text::TextError;

/// The most words and signs in one tag.
const TOKENS: usize = 500;
/// The most `elif` in a template.
const BRANCHES: usize = 500;

/// Proves that the tree of `source` is not deep. What is no template passes: parsing it will tell.
pub(super) fn check(source: &str, syntax: SyntaxConfig) -> Result<(), TextError> {
    let (mut tokens, mut branches) = (0, 0);
    for (token, span) in tokenize(source, false, syntax).map_while(Result::ok) {
        tokens = match token {
            Token::TemplateData(_) | Token::BlockStart | Token::VariableStart => 0,
            _ => tokens + 1,
        };
        branches += usize::from(matches!(token, Token::Ident("elif")));
        let limit = if tokens > TOKENS {
            format!("{TOKENS} words and signs in a tag")
        } else if branches > BRANCHES {
            format!("{BRANCHES} elif")
        } else {
            continue;
        };
        return Err(TextError::TemplateLimit { line: span.start_line.into(), limit });
    }
    Ok(())
}
