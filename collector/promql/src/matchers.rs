//! Label matchers, compiled: RE2 patterns translated faithfully, with shortcuts for those that are no real patterns
//! (a literal, a list of literals, a prefix).

mod translate;

use std::sync::Arc;

use regex::Regex;

use crate::labels::Labels;
use crate::source::{MatchOp, Matcher};

pub(crate) use translate::anchored;

/// A pattern that matches whole values.
#[derive(Clone, Debug)]
enum Pattern {
    /// Equal to one of these.
    Literals(Vec<Arc<str>>),
    /// Begins with this, then anything (`true`), or anything but nothing (`false`).
    Prefix(Arc<str>, bool),
    /// All others.
    Regex(Regex),
}

impl Pattern {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Literals(literals) => literals.iter().any(|literal| &**literal == value),
            Self::Prefix(prefix, empty) => value.strip_prefix(&**prefix).is_some_and(|rest| *empty || !rest.is_empty()),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// A matcher that can be asked.
#[derive(Clone, Debug)]
pub struct CompiledMatcher {
    name: Arc<str>,
    negative: bool,
    pattern: Pattern,
}

impl CompiledMatcher {
    /// Compiles a matcher.
    ///
    /// # Errors
    /// When its pattern is not RE2; the text says why.
    pub fn new(matcher: &Matcher) -> Result<Self, String> {
        let pattern = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => Pattern::Literals(vec![Arc::clone(&matcher.value)]),
            MatchOp::Regex | MatchOp::NotRegex => compile(&matcher.value)?,
        };
        let negative = matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex);
        Ok(Self { name: Arc::clone(&matcher.name), negative, pattern })
    }

    /// The label it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it matches a value; a missing label is the empty value.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.pattern.matches(value) != self.negative
    }

    /// Whether it matches a label set.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.value(&self.name))
    }

    /// The only values it can match, where that is known: look them up instead of scanning all values.
    #[must_use]
    pub fn literals(&self) -> Option<&[Arc<str>]> {
        match &self.pattern {
            Pattern::Literals(literals) if !self.negative => Some(literals),
            _ => None,
        }
    }
}

fn compile(pattern: &str) -> Result<Pattern, String> {
    const SPECIAL: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];
    if !pattern.contains(|c| c != '|' && SPECIAL.contains(&c)) {
        return Ok(Pattern::Literals(pattern.split('|').map(Arc::from).collect()));
    }
    for (tail, empty) in [(".*", true), (".+", false)] {
        if let Some(prefix) = pattern.strip_suffix(tail)
            && !prefix.contains(SPECIAL)
        {
            return Ok(Pattern::Prefix(Arc::from(prefix), empty));
        }
    }
    anchored(pattern).map(Pattern::Regex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        let matcher = Matcher { name: "l".into(), op: MatchOp::Regex, value: pattern.into() };
        CompiledMatcher::new(&matcher).unwrap().matches(value)
    }

    #[test]
    fn shortcuts_and_patterns_match_whole_values() {
        assert!(matches("a|b|", "") && matches("a|b", "b") && !matches("a|b", "ab"));
        assert!(matches("pro.*", "pro") && !matches("pro.+", "pro") && matches(".+", "x\ny"));
        assert!(matches("(?i:PRO).*", "production") && !matches("ro", "production"));
        assert!(matches("a.c", "a\nc"), "the dot matches a newline");
        assert!(matches("x{", "x{") && matches(r"\Qa.b\E+", "a.bb") && matches("[[&&]+", "[&"));
        assert!(matches(r"\d+", "12") && !matches(r"\d+", "\u{0663}"), "classes are ASCII");
    }

    #[test]
    fn nonsense_is_refused() {
        for pattern in ["(.*", "[a", "a**b|("] {
            let matcher = Matcher { name: "l".into(), op: MatchOp::Regex, value: pattern.into() };
            assert!(CompiledMatcher::new(&matcher).is_err(), "{pattern}");
        }
    }
}
