//! The parser: tokens in, a checked syntax tree out. Precedence climbing by hand, no generator: every node gets its
//! position, and the texts of errors are Prometheus' (promql/parser/generated_parser.y, parse.go).
//!
//! Prometheus' yacc grammar reports an unexpected token against the innermost production that foresees an error;
//! `contexts` holds those productions while they are being read.

mod durations;
mod modifiers;
mod primary;
mod selector;

use std::sync::Arc;

use crate::ast::{Binary, Cardinality, Expr, Matching, Op};
use crate::check;
use crate::lex::{Keyword, Kind, Token, tokens, unquote};
use crate::options::Language;
use crate::position::Span;
use crate::source::Matcher;

/// Why a text is not PromQL, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// `line:column` of the place.
    pub position: String,
    /// What is wrong there, in Prometheus' words.
    pub message: String,
    /// The place.
    pub span: Span,
}

impl ParseError {
    pub(crate) fn new(input: &str, span: Span, message: String) -> Self {
        Self { position: span.line_column(input), message, span }
    }
}

/// An error that does not know its text yet.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }
}

type Parsed<T> = Result<T, Fault>;

/// Parses and checks an expression.
///
/// # Errors
/// The first error, with its position.
pub fn parse(input: &str, language: &Language) -> Result<Expr, ParseError> {
    let fail = |fault: Fault| ParseError::new(input, fault.span, fault.message);
    if input.len() > language.bytes_max {
        let message =
            format!("expression has {} bytes, more than the {} allowed; split it", input.len(), language.bytes_max);
        return Err(fail(Fault::new(Span::default(), message)));
    }
    let tokens = tokens(input);
    let mut parser = Parser { input, tokens, at: 0, language, contexts: Vec::new(), depth: 0 };
    let mut expr = parser.whole().map_err(fail)?;
    check::check(&mut expr, input).map_err(fail)?;
    Ok(expr)
}

/// Parses a selector such as `up{job="x"}` into its matchers, as `match[]` parameters are written.
///
/// # Errors
/// The first error, with its position.
pub fn parse_selector(input: &str) -> Result<Vec<Matcher>, ParseError> {
    let language = Language::default();
    let mut parser =
        Parser { input, tokens: tokens(input), at: 0, language: &language, contexts: Vec::new(), depth: 0 };
    let read = |parser: &mut Parser<'_>| -> Parsed<Vec<Matcher>> {
        let selector = parser.selector()?;
        parser.expect_end()?;
        check::check_selector(&selector)?;
        Ok(selector.matchers)
    };
    read(&mut parser).map_err(|fault| ParseError::new(input, fault.span, fault.message))
}

pub(crate) struct Parser<'a> {
    input: &'a str,
    tokens: Vec<Token>,
    at: usize,
    language: &'a Language,
    contexts: Vec<Context>,
    depth: usize,
}

/// What was being read: (context, what was expected).
type Context = (&'static str, &'static str);

impl<'a> Parser<'a> {
    fn peek(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    fn peek_after(&self, more: usize) -> &Kind {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + more).min(last)].kind
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    fn text(&self, span: Span) -> &'a str {
        &self.input[span.start..span.end]
    }

    /// Takes a token; the last one (end or error) is never passed.
    fn take(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn accept(&mut self, kind: &Kind) -> Option<Span> {
        (self.peek() == kind).then(|| self.take().span)
    }

    fn accept_keyword(&mut self, keyword: Keyword) -> Option<Span> {
        self.accept(&Kind::Keyword(keyword))
    }

    /// The fault for the token at hand in a given context.
    fn unexpected_in(&self, context: &str, expected: &str) -> Fault {
        let token = &self.tokens[self.at];
        if let Kind::Error(message) = &token.kind {
            return Fault::new(token.span, message.clone());
        }
        let mut message = format!("unexpected {}", token.describe(self.input));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        Fault::new(token.span, message)
    }

    /// The fault for the token at hand in the innermost context.
    fn unexpected(&self) -> Fault {
        let (context, expected) = self.contexts.last().copied().unwrap_or(("", ""));
        self.unexpected_in(context, expected)
    }

    fn within<T>(&mut self, context: Context, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.contexts.push(context);
        let result = read(self);
        self.contexts.pop();
        result
    }

    fn expect(&mut self, kind: &Kind) -> Parsed<Span> {
        self.accept(kind).ok_or_else(|| self.unexpected())
    }

    fn expect_end(&self) -> Parsed<()> {
        if *self.peek() == Kind::Eof { Ok(()) } else { Err(self.unexpected()) }
    }

    fn whole(&mut self) -> Parsed<Expr> {
        if *self.peek() == Kind::Eof {
            return Err(Fault::new(Span::default(), "no expression found in input"));
        }
        let expr = self.expr(0)?;
        self.expect_end()?;
        Ok(expr)
    }

    fn deeper(&mut self, levels: usize) -> Parsed<()> {
        self.depth += levels;
        if self.depth > self.language.depth_max {
            let message = format!(
                "expression is nested deeper than the {} levels allowed; record parts of it with rules",
                self.language.depth_max
            );
            return Err(Fault::new(self.span(), message));
        }
        Ok(())
    }

    /// An expression of operators that bind at least as tightly as `min`.
    fn expr(&mut self, min: u8) -> Parsed<Expr> {
        let entered = self.depth;
        self.deeper(1)?;
        let mut left = self.unary()?;
        while let Kind::Op(op) = *self.peek() {
            if op.precedence() < min {
                break;
            }
            // A chain leans to the left: each link makes the tree one deeper.
            self.deeper(1)?;
            self.take();
            let (matching, return_bool) = self.binary_modifiers()?;
            // Only `^` groups to the right.
            let next = if op == Op::Pow { op.precedence() } else { op.precedence() + 1 };
            let right = self.expr(next)?;
            left = Expr::Binary(Binary {
                op,
                left: Box::new(left),
                right: Box::new(right),
                return_bool,
                matching: Some(matching),
            });
        }
        self.depth = entered;
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let Kind::Op(op @ (Op::Add | Op::Sub)) = *self.peek() else {
            return self.postfix();
        };
        let sign = self.take().span;
        // A sign binds like `*`: -2^2 is -(2^2), -a*b is (-a)*b.
        let expr = self.expr(Op::Mul.precedence() + 1)?;
        if let Expr::Number(mut literal) = expr {
            if op == Op::Sub {
                literal.value = -literal.value;
            }
            literal.span.start = sign.start;
            return Ok(Expr::Number(literal));
        }
        let span = sign.to(expr.span());
        Ok(Expr::Unary { op, expr: Box::new(expr), span })
    }

    fn binary_modifiers(&mut self) -> Parsed<(Matching, bool)> {
        let return_bool = self.accept_keyword(Keyword::Bool).is_some();
        let on = *self.peek() == Kind::Keyword(Keyword::On);
        let mut matching = Matching { on, ..Matching::default() };
        // `on` and `ignoring` are also names: only with a parenthesis behind them are they modifiers, and the
        // grammar of Prometheus always takes them for modifiers here.
        if matching.on || *self.peek() == Kind::Keyword(Keyword::Ignoring) {
            self.take();
            matching.labels = self.grouping_labels()?;
            self.group_side(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok((matching, return_bool))
    }

    fn group_side(&mut self, matching: &mut Matching) -> Parsed<()> {
        matching.cardinality = match self.peek() {
            Kind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            Kind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.take();
        if *self.peek() == Kind::LeftParen {
            matching.include = self.grouping_labels()?;
        }
        Ok(())
    }

    /// `fill(1)`, or `fill_left(1)` and `fill_right(2)` in any order; without a number in parentheses it is a metric.
    fn fill_modifiers(&mut self, matching: &mut Matching) -> Parsed<()> {
        loop {
            let keyword = match self.peek() {
                Kind::Keyword(keyword @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)) => *keyword,
                _ => return Ok(()),
            };
            if *self.peek_after(1) != Kind::LeftParen {
                return Ok(());
            }
            let span = self.take().span;
            self.take();
            let value = self.within(("fill modifier", "number"), Self::signed_number)?;
            self.within(("fill modifier", "\")\""), |parser| parser.expect(&Kind::RightParen))?;
            if !self.language.fill_modifiers {
                return Err(Fault::new(span, "binop fill modifiers are experimental and not enabled"));
            }
            if keyword != Keyword::FillRight {
                matching.fill_left = Some(value);
            }
            if keyword != Keyword::FillLeft {
                matching.fill_right = Some(value);
            }
        }
    }

    /// The labels of `by`, `without`, `on`, `ignoring`, `group_left`, `group_right`.
    fn grouping_labels(&mut self) -> Parsed<Vec<Arc<str>>> {
        if self.accept(&Kind::LeftParen).is_none() {
            return Err(self.unexpected_in("grouping opts", "\"(\""));
        }
        let mut labels = Vec::new();
        loop {
            if self.accept(&Kind::RightParen).is_some() {
                return Ok(labels);
            }
            labels.push(self.grouping_label()?);
            if self.accept(&Kind::RightParen).is_some() {
                return Ok(labels);
            }
            if self.accept(&Kind::Comma).is_none() {
                return Err(self.unexpected_in("grouping opts", "\",\" or \")\""));
            }
        }
    }

    fn grouping_label(&mut self) -> Parsed<Arc<str>> {
        let span = self.span();
        let name = match self.peek() {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Keyword(_) | Kind::Aggregation(_) => {
                self.text(span).to_owned()
            }
            Kind::Op(Op::And | Op::Or | Op::Unless | Op::Atan2) => self.text(span).to_owned(),
            Kind::Quoted => unquote(self.text(span)).map_err(|message| Fault::new(span, message))?,
            _ => return Err(self.unexpected_in("grouping opts", "label")),
        };
        self.take();
        if name.is_empty() || name.contains('\u{fffd}') {
            let message = format!("invalid label name for grouping: {}", crate::lex::go_quote(&name));
            return Err(Fault::new(span, message));
        }
        Ok(Arc::from(name))
    }

    fn number_of(&mut self) -> Parsed<Option<f64>> {
        let span = self.span();
        let value = match self.peek() {
            Kind::Number => crate::lex::parse_number(self.text(span)),
            Kind::Duration => crate::lex::parse_duration_ms(self.text(span)).map(|ms| ms as f64 / 1000.0),
            _ => return Ok(None),
        };
        self.take();
        value.map(Some).map_err(|message| Fault::new(span, message))
    }

    fn signed_number(&mut self) -> Parsed<f64> {
        let negative = match self.peek() {
            Kind::Op(op @ (Op::Add | Op::Sub)) => {
                let negative = *op == Op::Sub;
                self.take();
                negative
            }
            _ => false,
        };
        let value = self.number_of()?.ok_or_else(|| self.unexpected())?;
        Ok(if negative { -value } else { value })
    }
}
