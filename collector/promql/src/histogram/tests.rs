//! Arithmetic of histograms with different layouts.

use super::*;

fn exponential(schema: i32, first: i32, counts: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema,
        count: counts.iter().sum(),
        sum: 1.0,
        positive_spans: vec![Span { offset: first, length: counts.len() as u32 }],
        positive_buckets: counts.to_vec(),
        ..FloatHistogram::default()
    }
}

#[test]
fn bounds_of_powers_are_exact() {
    assert_eq!(buckets::bound(0, 0, &[]), 1.0);
    assert_eq!(buckets::bound(5, 0, &[]), 32.0);
    assert_eq!(buckets::bound(-4, 2, &[]), 0.5);
    assert_eq!(buckets::bound(1, -2, &[]), 16.0);
    assert!((buckets::bound(1, 1, &[]) - 2_f64.sqrt()).abs() < 1e-15);
    assert_eq!(buckets::bound(1024, 0, &[]), f64::MAX);
}

#[test]
fn adding_goes_down_to_the_coarser_resolution() {
    let mut a = exponential(1, 1, &[1.0, 2.0, 3.0]);
    a.add(&exponential(0, 1, &[10.0])).unwrap();
    assert_eq!((a.schema, a.positive_buckets.as_slice()), (0, [13.0, 3.0].as_slice()));
    assert_eq!(a.count, 16.0);
}

#[test]
fn a_narrow_zero_bucket_swallows_what_a_wide_one_holds() {
    let mut a = exponential(0, -2, &[1.0, 2.0, 4.0]);
    let mut b = exponential(0, 3, &[1.0]);
    b.zero_threshold = 0.5;
    b.zero_count = 7.0;
    a.add(&b).unwrap();
    assert_eq!((a.zero_threshold, a.zero_count), (0.5, 10.0));
    assert_eq!(a.positive_buckets, [4.0, 1.0]);
}

#[test]
fn custom_bounds_meet_at_those_they_share() {
    let custom = |bounds: &[f64], counts: &[f64]| FloatHistogram {
        custom_values: bounds.to_vec(),
        ..exponential(SCHEMA_CUSTOM, 0, counts)
    };
    let mut a = custom(&[2.0, 4.0, 6.0], &[1.0, 2.0, 5.0, 7.0]);
    let combined = a.add(&custom(&[1.0, 2.0, 6.0], &[1.0, 1.0, 1.0, 1.0])).unwrap();
    assert!(combined.reconciled);
    assert_eq!(
        (a.custom_values.as_slice(), a.positive_buckets.as_slice()),
        ([2.0, 6.0].as_slice(), [3.0, 8.0, 8.0].as_slice())
    );
    assert!(a.add(&exponential(0, 0, &[1.0])).is_err());
}

#[test]
fn a_reset_in_one_bucket_is_seen() {
    let before = exponential(0, 0, &[1.0, 2.0, 1.0]);
    assert!(exponential(0, 0, &[1.0, 1.0, 3.0]).detect_reset(&before));
    assert!(!exponential(0, 0, &[1.0, 2.0, 3.0]).detect_reset(&before));
    assert!(exponential(1, 0, &[9.0, 9.0, 9.0]).detect_reset(&before), "a finer schema comes after a reset");
}
