//! Instant selectors: a name, matchers in braces, or both.

use std::sync::Arc;

use super::{Fault, Parsed, Parser};
use crate::ast::Op;
use crate::ast::{VectorSelector, name_matcher};
use crate::labels::METRIC_NAME;
use crate::lex::{Keyword, Kind, unquote};
use crate::matchers::CompiledMatcher;
use crate::position::Span;
use crate::source::{MatchOp, Matcher};

impl Parser<'_> {
    pub(super) fn selector(&mut self) -> Parsed<VectorSelector> {
        let start = self.span();
        let name: Arc<str> = if self.is_metric_name() {
            self.take();
            Arc::from(self.text(start))
        } else {
            Arc::from("")
        };
        if name.is_empty() && *self.peek() != Kind::LeftBrace {
            return Err(self.unexpected());
        }
        let (mut matchers, end) =
            if *self.peek() == Kind::LeftBrace { self.label_matchers()? } else { (Vec::new(), start) };
        if !name.is_empty() {
            matchers.push(name_matcher(&name));
        }
        Ok(VectorSelector {
            name,
            matchers,
            offset: None,
            at: None,
            anchored: false,
            smoothed: false,
            may_match_empty: false,
            span: start.to(end),
        })
    }

    fn is_metric_name(&self) -> bool {
        match self.peek() {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregation(_) => true,
            Kind::Op(Op::And | Op::Or | Op::Unless) => true,
            Kind::Keyword(keyword) => !matches!(
                keyword,
                Keyword::Bool | Keyword::GroupLeft | Keyword::GroupRight | Keyword::Ignoring | Keyword::On
            ),
            _ => false,
        }
    }

    fn label_matchers(&mut self) -> Parsed<(Vec<Matcher>, Span)> {
        self.take();
        let mut matchers = Vec::new();
        if let Some(end) = self.accept(&Kind::RightBrace) {
            return Ok((matchers, end));
        }
        loop {
            matchers.push(self.label_matcher()?);
            if let Some(end) = self.accept(&Kind::RightBrace) {
                return Ok((matchers, end));
            }
            if self.accept(&Kind::Comma).is_none() {
                return Err(self.unexpected_in("label matching", "\",\" or \"}\""));
            }
            if let Some(end) = self.accept(&Kind::RightBrace) {
                return Ok((matchers, end));
            }
        }
    }

    fn label_matcher(&mut self) -> Parsed<Matcher> {
        let span = self.span();
        let quoted = *self.peek() == Kind::Quoted;
        let name: Arc<str> = match self.peek() {
            Kind::Identifier => Arc::from(self.text(span)),
            Kind::Quoted => Arc::from(unquote(self.text(span)).map_err(|message| Fault::new(span, message))?),
            _ => return Err(self.unexpected_in("label matching", "identifier or \"}\"")),
        };
        self.take();
        let op = match self.peek() {
            Kind::Equal => MatchOp::Equal,
            Kind::Op(Op::Neq) => MatchOp::NotEqual,
            Kind::MatchRegex => MatchOp::Regex,
            Kind::MatchNotRegex => MatchOp::NotRegex,
            // `{"name"}` is the metric's name.
            Kind::Comma | Kind::RightBrace if quoted => {
                return Ok(Matcher { name: Arc::from(METRIC_NAME), op: MatchOp::Equal, value: name });
            }
            _ if quoted => return Err(self.unexpected_in("label matching", "\",\" or \"}\"")),
            _ => return Err(self.unexpected_in("label matching", "label matching operator")),
        };
        self.take();
        let value_span = self.span();
        if *self.peek() != Kind::Quoted {
            return Err(self.unexpected_in("label matching", "string"));
        }
        let value = unquote(self.text(value_span)).map_err(|message| Fault::new(value_span, message))?;
        self.take();
        let matcher = Matcher { name, op, value: Arc::from(value) };
        CompiledMatcher::new(&matcher).map_err(|message| Fault::new(span.to(value_span), message))?;
        Ok(matcher)
    }
}
