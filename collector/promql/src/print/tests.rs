//! Printing and reading back gives the same tree.

use crate::options::Language;
use crate::parse::parse;

fn printed(text: &str) -> String {
    parse(text, &Language::all()).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

#[test]
fn prints_the_canonical_form() {
    for (text, expected) in [
        ("sum by() (task:errors:rate10s{job=\"s\"})", "sum(task:errors:rate10s{job=\"s\"})"),
        ("sum(x) without(b,a)", "sum without (b, a) (x)"),
        ("topk(5,x)", "topk(5, x)"),
        ("a - ignoring() group_left c", "a - ignoring () group_left () c"),
        ("a - on(b) group_left(x) c", "a - on (b) group_left (x) c"),
        ("up > BOOL 0", "up > bool 0"),
        ("a[1h:1m] @ start() offset 5m", "a[1h:1m] @ start() offset 5m"),
        ("a[90s] offset -1m @ 10", "a[1m30s] @ 10.000 offset -1m"),
        ("{__name__=\"a\", b=~\"c\"}", "{__name__=\"a\",b=~\"c\"}"),
        ("{\"metric.with.dots\", \"a b\"=\"x\"}", "{\"a b\"=\"x\",__name__=\"metric.with.dots\"}"),
        ("rate(a[5m + step()])", "rate(a[5m + step()])"),
        ("a offset (2*3)", "a offset (2 * 3)"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("-a ^ 2", "-a ^ 2"),
        ("h </ 2", "h </ 2"),
        ("rate(a[1m] smoothed)", "rate(a[1m] smoothed)"),
    ] {
        assert_eq!(printed(text), expected, "{text}");
        assert_eq!(printed(expected), expected, "reprinted {text}");
    }
}

#[test]
fn numbers_print_as_go_prints_them() {
    assert_eq!(super::format_g(1.1), "1.1");
    assert_eq!(super::format_g(1e21), "1e+21");
    assert_eq!(super::format_g(0.00001), "1e-05");
    assert_eq!(super::format_float(1e21), "1000000000000000000000");
    assert_eq!(super::format_g_precision(2.0, 2), "2");
    assert_eq!(super::format_duration_ms(90_000), "1m30s");
}
