//! Literals, parentheses, calls and aggregations.

use std::sync::Arc;

use super::{Fault, Parsed, Parser};
use crate::ast::{Aggregate, Aggregation, Call, Expr, NumberLiteral};
use crate::functions::function;
use crate::lex::{Keyword, Kind, go_quote, unquote};
use crate::position::Span;

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        let span = self.span();
        match self.peek() {
            Kind::Number | Kind::Duration => {
                let duration = *self.peek() == Kind::Duration;
                let value = self.number_of()?.unwrap_or_default();
                Ok(Expr::Number(NumberLiteral { value, duration, span }))
            }
            Kind::Quoted => {
                let value = unquote(self.text(span)).map_err(|message| Fault::new(span, message))?;
                self.take();
                Ok(Expr::Text { value: Arc::from(value), span })
            }
            Kind::LeftParen => {
                self.take();
                let expr = self.expr(0)?;
                let end = self.expect(&Kind::RightParen)?;
                Ok(Expr::Paren { expr: Box::new(expr), span: span.to(end) })
            }
            Kind::Aggregation(op) if self.starts_aggregation() => {
                let op = *op;
                self.take();
                self.within(("aggregation", ""), |parser| parser.aggregation(op, span))
            }
            Kind::Identifier if *self.peek_after(1) == Kind::LeftParen => self.call(),
            Kind::Keyword(
                Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf,
            ) if *self.peek_after(1) == Kind::LeftParen => self.call(),
            _ => Ok(Expr::Vector(self.selector()?)),
        }
    }

    /// Whether the aggregation word at hand is one, not a metric of that name.
    fn starts_aggregation(&self) -> bool {
        // Prometheus takes `sum` for the operator unless nothing that could follow the operator follows.
        !matches!(
            self.peek_after(1),
            Kind::Eof
                | Kind::LeftBrace
                | Kind::LeftBracket
                | Kind::RightParen
                | Kind::Comma
                | Kind::Op(_)
                | Kind::At
                | Kind::Keyword(Keyword::Offset | Keyword::Anchored | Keyword::Smoothed | Keyword::Bool)
        )
    }

    fn aggregation(&mut self, op: Aggregation, start: Span) -> Parsed<Expr> {
        let mut modifier = self.grouping_modifier()?;
        let (args, mut end) = self.call_arguments()?;
        if modifier.is_none() {
            modifier = self.grouping_modifier()?;
            if modifier.is_some() {
                end = self.tokens[self.at - 1].span;
            }
        }
        let (grouping, without) = modifier.unwrap_or_default();
        let span = start.to(end);
        if args.is_empty() {
            return Err(Fault::new(span, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.language.experimental_functions {
            let flag = "must be enabled with --enable-feature=promql-experimental-functions";
            return Err(Fault::new(span, format!("{}() is experimental and {flag}", op.text())));
        }
        let wanted = if op.has_parameter() { 2 } else { 1 };
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            );
            return Err(Fault::new(span, message));
        }
        let mut args = args.into_iter();
        let parameter = if wanted == 2 { args.next().map(Box::new) } else { None };
        let expr = Box::new(args.next().expect("as many arguments as wanted were checked"));
        Ok(Expr::Aggregate(Aggregate { op, expr, parameter, grouping, without, span }))
    }

    fn grouping_modifier(&mut self) -> Parsed<Option<(Vec<Arc<str>>, bool)>> {
        let without = match self.peek() {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take();
        Ok(Some((self.grouping_labels()?, without)))
    }

    fn call(&mut self) -> Parsed<Expr> {
        let name_span = self.take().span;
        let name = self.text(name_span);
        // Prometheus looks functions up as written; only those that are keywords of durations ignore case.
        let found = function(name).or_else(|| {
            let lower = name.to_ascii_lowercase();
            matches!(lower.as_str(), "start" | "end" | "step" | "range" | "min_of" | "max_of")
                .then(|| function(&lower))
                .flatten()
        });
        let Some(found) = found else {
            return Err(Fault::new(name_span, format!("unknown function with name {}", go_quote(name))));
        };
        if found.experimental && !self.language.experimental_functions {
            return Err(Fault::new(name_span, format!("function {} is not enabled", go_quote(name))));
        }
        let (args, end) = self.call_arguments()?;
        Ok(Expr::Call(Call { function: found, args, span: name_span.to(end) }))
    }

    fn call_arguments(&mut self) -> Parsed<(Vec<Expr>, Span)> {
        self.expect(&Kind::LeftParen)?;
        let mut args = Vec::new();
        if let Some(end) = self.accept(&Kind::RightParen) {
            return Ok((args, end));
        }
        loop {
            args.push(self.expr(0)?);
            if let Some(end) = self.accept(&Kind::RightParen) {
                return Ok((args, end));
            }
            let comma = self.expect(&Kind::Comma)?;
            if *self.peek() == Kind::RightParen {
                return Err(Fault::new(comma, "trailing commas not allowed in function call args"));
            }
        }
    }
}
