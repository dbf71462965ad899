//! What stands behind an expression and binds tightest: `[…]`, `offset`, `@`, `anchored`, `smoothed`.

use super::{Fault, Parsed, Parser};
use crate::ast::{At, DurationExpr, Expr, MatrixSelector, Subquery};
use crate::lex::{Keyword, Kind};
use crate::position::Span;

const OFFSET_PLACE: &str =
    "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
const AT_PLACE: &str =
    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
const OFFSET_EXPECTED: &str = "number, duration, step(), or range()";

impl Parser<'_> {
    pub(super) fn postfix(&mut self) -> Parsed<Expr> {
        let mut expr = self.primary()?;
        let entered = self.depth;
        loop {
            expr = match self.peek() {
                Kind::LeftBracket => self.range(expr)?,
                Kind::At => self.at_modifier(expr)?,
                Kind::Keyword(Keyword::Offset) => self.offset(expr)?,
                Kind::Keyword(keyword @ (Keyword::Anchored | Keyword::Smoothed)) => {
                    let keyword = *keyword;
                    self.take();
                    self.extended(expr, keyword)?
                }
                _ => {
                    self.depth = entered;
                    return Ok(expr);
                }
            };
            self.deeper(1)?;
        }
    }

    fn range(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.take().span;
        let context = ("subquery or range selector", OFFSET_EXPECTED);
        let range = self.within(context, Self::positive_duration)?;
        if let Some(close) = self.accept(&Kind::RightBracket) {
            return Self::matrix_selector(expr, range, open.to(close));
        }
        if self.accept(&Kind::Colon).is_none() {
            return Err(self.unexpected_in("subquery or range", "\":\" or \"]\""));
        }
        let step = if *self.peek() == Kind::RightBracket {
            None
        } else {
            let context = ("subquery selector", "number, duration, step(), range(), or \"]\"");
            Some(self.within(context, Self::positive_duration)?)
        };
        let Some(close) = self.accept(&Kind::RightBracket) else {
            return Err(self.unexpected_in("subquery selector", "\"]\""));
        };
        Ok(Expr::Subquery(Subquery { expr: Box::new(expr), range, step, offset: None, at: None, end: close.end }))
    }

    fn matrix_selector(expr: Expr, range: DurationExpr, brackets: Span) -> Parsed<Expr> {
        let problem = match &expr {
            Expr::Vector(selector) if selector.offset.is_some() => "no offset modifiers allowed before range",
            Expr::Vector(selector) if selector.at.is_some() => "no @ modifiers allowed before range",
            Expr::Vector(_) => "",
            _ => "ranges only allowed for vector selectors",
        };
        match expr {
            Expr::Vector(selector) if problem.is_empty() => {
                Ok(Expr::Matrix(MatrixSelector { selector, range, end: brackets.end }))
            }
            _ => Err(Fault::new(brackets, problem)),
        }
    }

    fn last_end(&self) -> usize {
        self.tokens[self.at - 1].span.end
    }

    fn offset(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.take();
        let offset = self.within(("offset", OFFSET_EXPECTED), Self::offset_duration)?;
        let end = self.last_end();
        let span = expr.span();
        let (place, expr_end) = match &mut expr {
            Expr::Vector(selector) => (&mut selector.offset, &mut selector.span.end),
            Expr::Matrix(matrix) => (&mut matrix.selector.offset, &mut matrix.end),
            Expr::Subquery(subquery) => (&mut subquery.offset, &mut subquery.end),
            _ => return Err(Fault::new(span, OFFSET_PLACE)),
        };
        if place.as_ref().is_some_and(|offset| offset.literal_ms() != Some(0)) {
            return Err(Fault::new(span, "offset may not be set multiple times"));
        }
        *place = Some(offset);
        *expr_end = end;
        Ok(expr)
    }

    fn at_modifier(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.take();
        let span = expr.span();
        let at = self.within(("@", "timestamp"), |parser| parser.at_value(span))?;
        let end = self.last_end();
        let (place, expr_end) = match &mut expr {
            Expr::Vector(selector) => (&mut selector.at, &mut selector.span.end),
            Expr::Matrix(matrix) => (&mut matrix.selector.at, &mut matrix.end),
            Expr::Subquery(subquery) => (&mut subquery.at, &mut subquery.end),
            _ => return Err(Fault::new(span, AT_PLACE)),
        };
        if place.is_some() {
            return Err(Fault::new(span, "@ <timestamp> may not be set multiple times"));
        }
        *place = Some(at);
        *expr_end = end;
        Ok(expr)
    }

    fn at_value(&mut self, span: Span) -> Parsed<At> {
        let edge = match self.peek() {
            Kind::Keyword(Keyword::Start) => At::Start,
            Kind::Keyword(Keyword::End) => At::End,
            _ => {
                let seconds = self.signed_number()?;
                if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
                    let message = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
                    return Err(Fault::new(span, message));
                }
                // Cut toward zero after rounding to the millisecond, as Prometheus' FromFloatSeconds does.
                return Ok(At::Time((seconds * 1000.0).round() as i64));
            }
        };
        self.take();
        self.expect(&Kind::LeftParen)?;
        self.expect(&Kind::RightParen)?;
        Ok(edge)
    }

    fn extended(&mut self, mut expr: Expr, keyword: Keyword) -> Parsed<Expr> {
        let name = if keyword == Keyword::Anchored { "anchored" } else { "smoothed" };
        let span = expr.span();
        if !self.language.extended_range_selectors {
            return Err(Fault::new(span, format!("{name} modifier is experimental and not enabled")));
        }
        let selector = match &mut expr {
            Expr::Vector(selector) => selector,
            Expr::Matrix(matrix) => &mut matrix.selector,
            Expr::Subquery(_) => {
                return Err(Fault::new(span, format!("{name} modifier is not supported for subqueries")));
            }
            _ => return Err(Fault::new(span, format!("{name} modifier not implemented"))),
        };
        if keyword == Keyword::Anchored {
            selector.anchored = true;
        } else {
            selector.smoothed = true;
        }
        if selector.anchored && selector.smoothed {
            return Err(Fault::new(span, "anchored and smoothed modifiers cannot be used together"));
        }
        Ok(expr)
    }
}
