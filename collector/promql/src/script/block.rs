//! A script cut into its commands.

use super::expect::{Expected, parse_expectation};
use super::notation::{SequenceValue, number, parse_metric, parse_starts, parse_values};
use crate::engine::QueryRange;
use crate::labels::Labels;
use crate::memory::MemorySample;
use crate::parse_duration_ms;
use crate::value::Point;

/// A `load`.
pub(super) struct Load {
    pub(super) custom_histograms: bool,
    pub(super) series: Vec<(Labels, Vec<MemorySample>)>,
}

/// When an `eval` evaluates.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    At(i64),
    Over(QueryRange),
}

/// An `eval`.
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) when: When,
    pub(super) expression: String,
    pub(super) expected: Expected,
}

/// A command of a script.
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// A script that cannot be read: line and reason.
pub(super) type Unreadable = (usize, String);

/// The commands of a script.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, Unreadable> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, first) = (at + 1, lines[at]);
        at += 1;
        if first.is_empty() {
            continue;
        }
        if first == "clear" {
            out.push(Command::Clear);
            continue;
        }
        let from = at;
        while at < lines.len() && !lines[at].is_empty() && !begins_command(lines[at]) {
            at += 1;
        }
        let body = &lines[from..at];
        let (word, rest) = first.split_once(char::is_whitespace).unwrap_or((first, ""));
        let command = match word {
            "load" | "load_with_nhcb" => load(rest, word == "load_with_nhcb", body, line).map(Command::Load)?,
            _ if word.starts_with("eval") => eval(word, rest, body, line).map(|eval| Command::Eval(Box::new(eval)))?,
            _ => return Err((line, format!("invalid command {first:?}"))),
        };
        out.push(command);
    }
    Ok(out)
}

fn begins_command(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    matches!(
        word,
        "clear" | "load" | "load_with_nhcb" | "eval" | "eval_fail" | "eval_warn" | "eval_info" | "eval_ordered"
    ) && (word != "clear" || line == "clear")
        && !line.contains("{{")
}

fn load(step: &str, custom_histograms: bool, body: &[&str], line: usize) -> Result<Load, Unreadable> {
    let step_ms = parse_duration_ms(step.trim()).map_err(|message| (line, message))?;
    let mut series: Vec<(Labels, Vec<MemorySample>)> = Vec::new();
    let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
    for (at, text) in body.iter().enumerate() {
        let fail = |message: String| (line + 1 + at, message);
        let parsed = parse_metric(text).map_err(fail)?;
        if parsed.starts {
            starts = Some((parsed.labels, parse_starts(parsed.rest).map_err(fail)?));
            continue;
        }
        let values = parse_values(parsed.rest).map_err(fail)?;
        let starts = starts.take().filter(|(labels, _)| *labels == parsed.labels).map(|(_, starts)| starts);
        if starts.as_ref().is_some_and(|starts| starts.len() != values.len()) {
            return Err(fail("start timestamps and samples differ in number".to_owned()));
        }
        let mut samples = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let point = match value {
                SequenceValue::Gap => continue,
                SequenceValue::Float(value) => Point::Float(value),
                SequenceValue::Histogram(histogram, _) => Point::Histogram(histogram),
            };
            let t_ms = step_ms * index as i64;
            let start_ms = starts.as_ref().and_then(|starts| starts[index]).map_or(0, |start| t_ms + start);
            samples.push(MemorySample { t_ms, start_ms, point });
        }
        // Of two lines for one series the later counts.
        series.retain(|(labels, _)| *labels != parsed.labels);
        series.push((parsed.labels, samples));
    }
    Ok(Load { custom_histograms, series })
}

fn eval(word: &str, rest: &str, body: &[&str], line: usize) -> Result<Eval, Unreadable> {
    let fail = |message: &str| (line, message.to_owned());
    let (kind, rest) = rest.trim().split_once(char::is_whitespace).ok_or_else(|| fail("incomplete eval"))?;
    let rest = rest.trim();
    let time = |text: &str| parse_time(text).map_err(|message| (line, message));
    let (when, expression) = match kind {
        "instant" => match rest.strip_prefix("at ").map(str::trim_start) {
            Some(rest) => {
                let (at, expression) = rest.split_once(char::is_whitespace).ok_or_else(|| fail("no expression"))?;
                (When::At(time(at)?), expression.trim())
            }
            None => (When::At(0), rest),
        },
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().take(6).collect();
            let ["from", from, "to", to, "step", step] = words[..] else {
                return Err(fail("expected from … to … step …"));
            };
            let range = QueryRange { start_ms: time(from)?, end_ms: time(to)?, step_ms: time(step)? };
            let mut expression = rest;
            for word in words {
                expression = expression.trim_start().strip_prefix(word).unwrap_or_default();
            }
            (When::Over(range), expression.trim())
        }
        _ => return Err(fail("expected instant or range")),
    };
    let mut expected = Expected::default();
    match word {
        "eval_fail" => expected.fail = true,
        "eval_warn" => expected.warn.any = true,
        "eval_info" => expected.info.any = true,
        "eval_ordered" => expected.ordered = true,
        _ => {}
    }
    for (at, text) in body.iter().enumerate() {
        let fail = |message: String| (line + 1 + at, message);
        if parse_expectation(text, &mut expected).map_err(fail)? {
            continue;
        }
        if let Ok(value) = number(text) {
            expected.scalar = Some(value);
            continue;
        }
        let parsed = parse_metric(text).map_err(fail)?;
        let values = parse_values(parsed.rest).map_err(fail)?;
        expected.series.push((parsed.labels, values));
    }
    Ok(Eval { line, when, expression: expression.to_owned(), expected })
}

/// A duration, or a number of seconds, either with a sign.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let (sign, plain) = text.strip_prefix('-').map_or((1, text), |plain| (-1, plain));
    if let Ok(seconds) = plain.parse::<f64>() {
        return Ok(sign * (seconds * 1000.0).round() as i64);
    }
    parse_duration_ms(plain).map(|ms| sign * ms)
}
