//! Expressions that nobody would write: those of the scripts, cut, joined and bent. Whatever comes of them is an answer
//! or an error, soon. `WEIR_FUZZ_CASES` sets how many, `WEIR_FUZZ_SEED` which.

use std::time::{Duration, Instant};

use weir_promql::engine::{Engine, QueryRange};
use weir_promql::options::{EngineOptions, QueryOptions};
use weir_promql::parse::parse;
use weir_promql::script::script_options;

use super::data::{Random, World, source};
use super::expressions::Writer;
use super::scripts::expressions;

const PIECES: &[&str] = &[
    "(",
    ")",
    "[5m]",
    "[1h:]",
    "[9999d:1ms]",
    " offset 1m",
    " offset -292y",
    " @ 9e15",
    " @ -1e300",
    " @ start()",
    "-",
    " ^ ",
    " or ",
    " unless on () ",
    " * ignoring (a) group_left (b) ",
    " by (a)",
    "sum",
    "topk(1e300, ",
    "{}",
    "\"",
    "'",
    "`",
    "\\",
    "\u{0}",
    "é",
    "NaN",
    "Inf",
    "1e999",
    "0x",
    "1_",
    "9223372036854775807",
    "-9223372036854775808",
    "1y",
    "{__name__=~\".+\"}",
    "{a=~\"(\"}",
    " smoothed",
    " anchored",
    "#",
    "\n",
    ",",
    "histogram_quantile(0.5, ",
    "rate(",
    "warmth",
    "size",
    "wait_bucket",
    "[1ms]",
    "[292y]",
    "[1d:1ns]",
    " bool ",
    " </ ",
    " >/ ",
    "fill(1)",
    "count_values(\"\", ",
    "label_replace(",
    "step()",
    "range()",
];

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// What kind of word a byte belongs to; each bracket is of a kind of its own.
fn kind(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'.' => 0,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => 1,
        b' ' => 2,
        b'(' | b')' | b'[' | b']' | b'{' | b'}' | b',' | b'"' => byte,
        _ => 3,
    }
}

/// Words, numbers, and what stands between them.
fn words(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut from = 0;
    for to in 1..=bytes.len() {
        if (to == bytes.len() || kind(bytes[to]) != kind(bytes[from])) && text.is_char_boundary(to) {
            words.push(&text[from..to]);
            from = to;
        }
    }
    words
}

/// Puts a word of another expression where one of the same kind is.
fn with_other_word(random: &mut Random, text: &str, other: &str) -> String {
    let mut ours = words(text);
    let kind = |word: &str| word.as_bytes().first().copied().map(kind);
    let theirs = words(other);
    if ours.is_empty() || theirs.is_empty() {
        return text.to_owned();
    }
    for _ in 0..20 {
        let (at, with) = (random.below(ours.len()), theirs[random.below(theirs.len())]);
        if kind(ours[at]) == kind(with) && ours[at] != with {
            ours[at] = with;
            break;
        }
    }
    ours.concat()
}

fn mutate(random: &mut Random, all: &[String]) -> String {
    let mut text = all[random.below(all.len())].clone();
    for _ in 0..1 + random.below(3) / 2 {
        let mut ends = [random.below(text.len() + 1), random.below(text.len() + 1)];
        ends.sort_unstable();
        let [from, to] = ends.map(|at| floor(&text, at));
        match random.below(8) {
            5..=7 => {
                let other = random.below(all.len());
                text = with_other_word(random, &text, &all[other]);
            }
            0 => text.replace_range(from..to, ""),
            1 => text.insert_str(from, PIECES[random.below(PIECES.len())]),
            2 => text.replace_range(from..to, PIECES[random.below(PIECES.len())]),
            3 => {
                let part = text[from..to].to_owned();
                text.insert_str(from, &part);
            }
            _ => {
                let other = &all[random.below(all.len())];
                text.insert_str(from, &other[floor(other, random.below(other.len() + 1))..]);
            }
        }
        text.truncate(floor(&text, 2000));
    }
    text
}

/// Metrics of the scripts are not in the data: those that are take their place.
fn known(text: &str) -> String {
    let names = [("sold", "warmth"), ("turns_total", "calls_total"), ("wave", "size"), ("sheep_total", "calls_total")];
    names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn every_expression_is_answered_or_refused() {
    let count = std::env::var("WEIR_FUZZ_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(3000);
    let seed = std::env::var("WEIR_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let options = EngineOptions {
        samples_max: 2_000_000,
        bytes_max: 64 << 20,
        timeout: Duration::from_millis(300),
        ..script_options()
    };
    let engine = Engine::new(options);
    let samples = source(World::USUAL);
    let mut random = Random::new(seed);
    let mut all: Vec<String> = expressions().iter().map(|text| known(text)).collect();
    for depth in 0..400 {
        all.push(Writer { random: &mut random, world: World::USUAL }.vector(depth % 4));
    }
    let (mut parsed, mut answered) = (0, 0);
    for _ in 0..count {
        let query = mutate(&mut random, &all);
        let from = Instant::now();
        let Ok(expr) = parse(&query, &engine.options().language) else { continue };
        parsed += 1;
        let printed = expr.to_string();
        let again = parse(&printed, &engine.options().language).map(|expr| expr.to_string());
        assert_eq!(again.as_ref().ok(), Some(&printed), "{query:?}: {:?}", again.as_ref().err());
        let t_ms = World::USUAL.begin * 1000 + 1_800_000;
        let instant = engine.instant(&samples, &query, t_ms, &QueryOptions::default());
        let steps = [1000, 60_000, 3_600_000][random.below(3)];
        let range = QueryRange { start_ms: t_ms, end_ms: t_ms + 20 * steps, step_ms: steps };
        let ranged = engine.range(&samples, &query, range, &QueryOptions::default());
        answered += u32::from(instant.is_ok()) + u32::from(ranged.is_ok());
        assert!(from.elapsed() < Duration::from_secs(5), "{query:?} took {:?}", from.elapsed());
    }
    assert!(parsed * 20 > count && answered > 0, "{parsed} of {count} were expressions, {answered} answers");
}

#[test]
fn times_at_the_ends_of_what_there_is() {
    let engine = Engine::new(EngineOptions { timeout: Duration::from_secs(2), ..script_options() });
    let samples = source(World::USUAL);
    let queries = [
        "warmth",
        "warmth offset 1h",
        "warmth offset -1h",
        "rate(calls_total[5m])",
        "warmth smoothed",
        "rate(calls_total[5m] smoothed)",
        "increase(calls_total[5m] anchored)",
        "max_over_time(warmth[10m:1m])",
        "time()",
        "hour()",
        "year(vector(1e300))",
        "timestamp(warmth)",
        "predict_linear(warmth[5m], 1e300)",
        "max_over_time(vector(1)[292y:1y])",
        "last_over_time(warmth[292y])",
        "absent(warmth)",
        "start() + end()",
        "warmth[5m]",
        "warmth[5m:1m]",
    ];
    for query in queries {
        for t_ms in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
            _ = engine.instant(&samples, query, t_ms, &QueryOptions::default()).is_ok();
            for step_ms in [1, 1 << 40, i64::MAX] {
                let ends = [(t_ms, t_ms), (t_ms, t_ms.saturating_add(1000)), (i64::MIN, t_ms)];
                for (start_ms, end_ms) in ends {
                    let range = QueryRange { start_ms, end_ms, step_ms };
                    _ = engine.range(&samples, query, range, &QueryOptions::default()).is_ok();
                }
            }
        }
    }
}
