//! Durations: literals and, where the language allows, arithmetic with `step()`, `range()`, `min_of`, `max_of`.

use super::{Fault, Parsed, Parser};
use crate::ast::{DurationExpr, DurationOp, NumberLiteral, Op};
use crate::lex::{Keyword, Kind};
use crate::position::Span;

/// Seconds beyond which Go's nanoseconds would overflow.
const SECONDS_MAX: f64 = 9_223_372_036.854_775;

impl Parser<'_> {
    /// A range or a step: greater than zero.
    pub(super) fn positive_duration(&mut self) -> Parsed<DurationExpr> {
        let duration = self.duration(0)?;
        match &duration {
            DurationExpr::Literal(literal) if literal.value <= 0.0 => {
                Err(Fault::new(literal.span, "duration must be greater than 0"))
            }
            _ => Ok(duration),
        }
    }

    /// An offset: a signed literal, a call or something in parentheses. Operators behind it are not part of it:
    /// `foo offset -2 ^ 2` is `(foo offset -2) ^ 2`.
    pub(super) fn offset_duration(&mut self) -> Parsed<DurationExpr> {
        self.signed_duration(Self::duration_primary)
    }

    fn signed_duration(&mut self, operand: fn(&mut Self) -> Parsed<DurationExpr>) -> Parsed<DurationExpr> {
        let Kind::Op(sign @ (Op::Add | Op::Sub)) = *self.peek() else {
            return operand(self);
        };
        let start = self.take().span;
        let inner = operand(self)?;
        Self::signed(sign, start, inner)
    }

    fn signed(sign: Op, start: Span, inner: DurationExpr) -> Parsed<DurationExpr> {
        match inner {
            DurationExpr::Literal(mut literal) => {
                if sign == Op::Sub {
                    literal.value = -literal.value;
                }
                literal.span.start = start.start;
                Ok(DurationExpr::Literal(literal))
            }
            node if sign == Op::Sub => {
                let span = start.to(node.span());
                Ok(DurationExpr::Node {
                    op: DurationOp::Arithmetic(Op::Sub),
                    left: None,
                    right: Some(Box::new(node)),
                    wrapped: false,
                    span,
                })
            }
            node => Ok(node),
        }
    }

    /// Arithmetic of operators that bind at least as tightly as `min`.
    fn duration(&mut self, min: u8) -> Parsed<DurationExpr> {
        let entered = self.depth;
        self.deeper(1)?;
        // A sign binds like `*`.
        let mut left = self.signed_duration(|parser| parser.duration_power())?;
        while let Kind::Op(op @ (Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod | Op::Pow)) = *self.peek() {
            if op.precedence() < min {
                break;
            }
            self.deeper(1)?;
            let op_span = self.take().span;
            let next = if op == Op::Pow { op.precedence() } else { op.precedence() + 1 };
            let right = self.duration(next)?;
            left = self.duration_binary(op, op_span, left, right)?;
        }
        self.depth = entered;
        Ok(left)
    }

    fn duration_power(&mut self) -> Parsed<DurationExpr> {
        let left = self.duration_primary()?;
        if *self.peek() != Kind::Op(Op::Pow) {
            return Ok(left);
        }
        let op_span = self.take().span;
        let right = self.duration(Op::Pow.precedence())?;
        self.duration_binary(Op::Pow, op_span, left, right)
    }

    fn duration_binary(&self, op: Op, op_span: Span, left: DurationExpr, right: DurationExpr) -> Parsed<DurationExpr> {
        self.require_expressions(left.span())?;
        if let (Op::Div | Op::Mod, DurationExpr::Literal(literal)) = (op, &right)
            && literal.value == 0.0
        {
            return Err(Fault::new(op_span, if op == Op::Div { "division by zero" } else { "modulo by zero" }));
        }
        let span = left.span().to(right.span());
        Ok(DurationExpr::Node {
            op: DurationOp::Arithmetic(op),
            left: Some(Box::new(left)),
            right: Some(Box::new(right)),
            wrapped: false,
            span,
        })
    }

    fn require_expressions(&self, span: Span) -> Parsed<()> {
        if self.language.duration_expressions {
            return Ok(());
        }
        Err(Fault::new(span, "experimental duration expression is not enabled"))
    }

    fn duration_primary(&mut self) -> Parsed<DurationExpr> {
        let span = self.span();
        match self.peek() {
            Kind::Number | Kind::Duration => {
                let duration = *self.peek() == Kind::Duration;
                let value = self.number_of()?.unwrap_or_default();
                if value.is_nan() || value.abs() > SECONDS_MAX {
                    return Err(Fault::new(span, "duration out of range"));
                }
                Ok(DurationExpr::Literal(NumberLiteral { value, duration, span }))
            }
            Kind::LeftParen => {
                self.take();
                let inner = self.duration(0)?;
                let end = self.expect(&Kind::RightParen)?;
                self.require_expressions(inner.span())?;
                Ok(Self::wrapped(inner, span.to(end)))
            }
            Kind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                let op = if *keyword == Keyword::Step { DurationOp::Step } else { DurationOp::Range };
                self.take();
                self.expect(&Kind::LeftParen)?;
                let end = self.expect(&Kind::RightParen)?;
                Ok(DurationExpr::Node { op, left: None, right: None, wrapped: false, span: span.to(end) })
            }
            Kind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                let op = if *keyword == Keyword::MinOf { DurationOp::Min } else { DurationOp::Max };
                self.take();
                self.expect(&Kind::LeftParen)?;
                let left = Some(Box::new(self.duration(0)?));
                self.expect(&Kind::Comma)?;
                let right = Some(Box::new(self.duration(0)?));
                let end = self.expect(&Kind::RightParen)?;
                Ok(DurationExpr::Node { op, left, right, wrapped: false, span: span.to(end) })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Remembers the parentheses, so that the printer can give them back.
    fn wrapped(inner: DurationExpr, around: Span) -> DurationExpr {
        match inner {
            DurationExpr::Node { op, left, right, span, .. } => {
                DurationExpr::Node { op, left, right, wrapped: true, span }
            }
            literal @ DurationExpr::Literal(_) => DurationExpr::Node {
                op: DurationOp::Arithmetic(Op::Add),
                left: None,
                right: Some(Box::new(literal)),
                wrapped: true,
                span: around,
            },
        }
    }
}
