//! Type checks over a parsed tree, with Prometheus' messages (promql/parser/parse.go, `checkAST`).

use crate::ast::{Aggregation, Binary, Call, Cardinality, Expr, VectorSelector};
use crate::labels::METRIC_NAME;
use crate::lex::go_quote;
use crate::matchers::CompiledMatcher;
use crate::parse::Fault;
use crate::position::Span;
use crate::value::ValueType;

type Checked<T = ()> = Result<T, Fault>;

/// Checks `expr` and everything in it, and settles what only types decide: whether vectors are matched at all.
pub(crate) fn check(expr: &mut Expr, input: &str) -> Checked<ValueType> {
    match expr {
        Expr::Number(_) | Expr::Text { .. } => {}
        Expr::Vector(selector) => check_selector(selector)?,
        Expr::Matrix(matrix) => check_selector(&matrix.selector)?,
        Expr::Subquery(subquery) => {
            let inner = check(&mut subquery.expr, input)?;
            if inner != ValueType::Vector {
                let span = Span::new(subquery.expr.span().start, subquery.end);
                let message = format!("subquery is only allowed on instant vector, got {} instead", inner.name());
                return Err(Fault::new(span, message));
            }
        }
        Expr::Paren { expr, .. } => {
            check(expr, input)?;
        }
        Expr::Unary { expr, span, .. } => {
            let inner = check(expr, input)?;
            if inner != ValueType::Scalar && inner != ValueType::Vector {
                let got = go_quote(inner.documented());
                let rule = "unary expression only allowed on expressions of type scalar or instant vector";
                return Err(Fault::new(*span, format!("{rule}, got {got}")));
            }
        }
        Expr::Aggregate(aggregate) => {
            expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression", input)?;
            if let Some(parameter) = &mut aggregate.parameter {
                let wanted =
                    if aggregate.op == Aggregation::CountValues { ValueType::String } else { ValueType::Scalar };
                expect(parameter, wanted, "aggregation parameter", input)?;
            }
        }
        Expr::Call(call) => check_call(call, input)?,
        Expr::Binary(binary) => check_binary(binary, input)?,
    }
    Ok(expr.value_type())
}

fn expect(expr: &mut Expr, wanted: ValueType, context: &str, input: &str) -> Checked {
    let got = check(expr, input)?;
    if got == wanted {
        return Ok(());
    }
    let (wanted, got) = (wanted.documented(), got.documented());
    Err(Fault::new(expr.span(), format!("expected type {wanted} in {context}, got {got}")))
}

/// A selector needs a matcher that does not match everything, and one name at most.
pub(crate) fn check_selector(selector: &VectorSelector) -> Checked {
    if !selector.name.is_empty() {
        let inside = &selector.matchers[..selector.matchers.len() - 1];
        return match inside.iter().find(|matcher| &*matcher.name == METRIC_NAME) {
            Some(matcher) => {
                let (outer, inner) = (go_quote(&selector.name), go_quote(&matcher.value));
                Err(Fault::new(selector.span, format!("metric name must not be set twice: {outer} or {inner}")))
            }
            None => Ok(()),
        };
    }
    let selective =
        |matcher: &crate::source::Matcher| CompiledMatcher::new(matcher).is_ok_and(|compiled| !compiled.matches(""));
    if selector.may_match_empty || selector.matchers.iter().any(selective) {
        return Ok(());
    }
    Err(Fault::new(selector.span, "vector selector must contain at least one non-empty matcher"))
}

fn check_call(call: &mut Call, input: &str) -> Checked {
    let function = call.function;
    let (wanted, got, name) = (function.args.len(), call.args.len(), go_quote(function.name));
    let count = |word: &str, wanted: usize| {
        Fault::new(call.span, format!("expected {word}{wanted} argument(s) in call to {name}, got {got}"))
    };
    if function.variadic == 0 {
        if wanted != got {
            return Err(count("", wanted));
        }
    } else {
        if got < wanted - 1 {
            return Err(count("at least ", wanted - 1));
        }
        let most = usize::try_from(function.variadic).map(|more| wanted - 1 + more);
        if let Ok(most) = most
            && got > most
        {
            return Err(count("at most ", most));
        }
    }
    if function.name == "info" && got > 1 {
        check_info(call)?;
    }
    for (at, arg) in call.args.iter_mut().enumerate() {
        let wanted = function.args[at.min(function.args.len() - 1)];
        let got = check(arg, input)?;
        if got != wanted {
            let (wanted, got) = (wanted.documented(), got.documented());
            let message = format!("expected type {wanted} in call to function {name}, got {got}");
            return Err(Fault::new(arg.span(), message));
        }
    }
    Ok(())
}

/// The second argument of `info()` names labels; it is no selector of series.
fn check_info(call: &mut Call) -> Checked {
    let span = call.span;
    let arg = &mut call.args[1];
    let got = arg.value_type();
    if got != ValueType::Vector {
        let message = format!("expected type instant vector in call to function \"info\", got {}", got.documented());
        return Err(Fault::new(span, message));
    }
    match arg {
        Expr::Vector(selector) if selector.name.is_empty() => {
            selector.may_match_empty = true;
            Ok(())
        }
        Expr::Vector(selector) => {
            Err(Fault::new(selector.span, "expected label selectors only, got vector selector instead"))
        }
        other => Err(Fault::new(other.span(), "expected label selectors only")),
    }
}

fn check_binary(binary: &mut Binary, input: &str) -> Checked {
    let left = check(&mut binary.left, input)?;
    let right = check(&mut binary.right, input)?;
    let whole = binary.left.span().to(binary.right.span());
    let operator = || operator_span(binary, input);
    let op = binary.op;
    if binary.return_bool && !op.is_comparison() {
        return Err(Fault::new(operator(), "bool modifier can only be used on comparison operators"));
    }
    let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
    if op.is_comparison() && !binary.return_bool && scalars {
        return Err(Fault::new(operator(), "comparisons between scalars must use BOOL modifier"));
    }
    let matching = binary.matching.clone().unwrap_or_default();
    if matching.on
        && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
    {
        let message = format!("label {} must not occur in ON and GROUP clause at once", go_quote(label));
        return Err(Fault::new(operator(), message));
    }
    for (kind, side) in [(left, &binary.left), (right, &binary.right)] {
        if kind != ValueType::Scalar && kind != ValueType::Vector {
            return Err(Fault::new(side.span(), "binary expression must contain only scalar and instant vector types"));
        }
    }
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    let problem = if left != ValueType::Vector || right != ValueType::Vector {
        if !matching.labels.is_empty() {
            "vector matching only allowed between instant vectors".to_owned()
        } else if filled {
            "filling in missing series only allowed between instant vectors".to_owned()
        } else if op.is_set() {
            format!("set operator {} not allowed in binary scalar expression", go_quote(op.text()))
        } else {
            String::new()
        }
    } else if op.is_set() && matching.cardinality != Cardinality::OneToOne {
        format!("no grouping allowed for {} operation", go_quote(op.text()))
    } else if op.is_set() && filled {
        "filling in missing series not allowed for set operators".to_owned()
    } else {
        String::new()
    };
    if !problem.is_empty() {
        return Err(Fault::new(whole, problem));
    }
    if left != ValueType::Vector || right != ValueType::Vector {
        binary.matching = None;
    } else if op.is_set()
        && let Some(matching) = &mut binary.matching
    {
        matching.cardinality = Cardinality::ManyToMany;
    }
    Ok(())
}

/// From the operator to the end of its modifiers, without the blanks around.
fn operator_span(binary: &Binary, input: &str) -> Span {
    let (start, end) = (binary.left.span().end, binary.right.span().start);
    let between = &input[start.min(input.len())..end.min(input.len()).max(start)];
    let lead = between.len() - between.trim_start().len();
    Span::new(start + lead, start + between.trim_end().len())
}
