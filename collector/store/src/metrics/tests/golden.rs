//! A part written by the first version of the tables is in the tree. It stays readable, and what is written today has
//! its columns, with the same values in them; new columns may come, where a row may leave them empty.
//!
//! `UPDATE=1` writes the part anew, which only a change that old files survive may do.

use std::fs::File;
use std::path::PathBuf;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_proto::identity::SeriesParts;
use weir_proto::schema::metrics as columns;
use weir_proto::{Attributes, HistogramMarks, Resource, Scope};

use super::*;

const NOON: i64 = 1_795_348_800 * SECOND;
const TABLES: [&str; 5] = ["series", "timelines", "samples", "histograms", "exemplars"];

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/metrics-v1")
}

/// Every kind of series, value, start time, layout and attribute, a few points each.
fn golden_batch() -> MetricBatch {
    let mut batch = MetricBatch::default();
    let gauge = attributed("room.temperature", MetricKind::Gauge, Temporality::Unspecified);
    let counter = attributed("requests", MetricKind::Counter, Temporality::Cumulative);
    let delta = series_of("jobs", &[("queue", "")], MetricKind::Counter, Temporality::Delta);
    let constant = series("limit", &[("le", "+Inf")]);
    let large = series("large", &[]);
    let odd = [21.5, 21.75, f64::NAN, f64::from_bits(STALE_NAN_BITS), -0.0, 0.1 + 0.2, f64::INFINITY, 5e-324];
    for at in 0..16_i64 {
        let time = NOON + at * 15 * SECOND;
        push_number(&mut batch, &gauge, 0, time + 123_457, odd[usize::try_from(at % 8).unwrap()]);
        // It restarts in the middle.
        let (start, value) = if at < 9 { (NOON - SECOND, at * 7) } else { (NOON + 9 * 15 * SECOND - 1, at - 9) };
        push_number(&mut batch, &counter, start, time, value as f64 + 0.25);
        push_number(&mut batch, &delta, time - 15 * SECOND, time, (at * at) as f64);
        push_number(&mut batch, &constant, 0, time, 1e9);
        push_number(&mut batch, &large, 0, time, (at << 40) as f64);
    }
    let explicit = attributed("latency", MetricKind::Histogram, Temporality::Cumulative);
    let exponential = series_of("size", &[], MetricKind::ExponentialHistogram, Temporality::Delta);
    for at in 0..8_i64 {
        let time = NOON + at * 15 * SECOND;
        let n = at.cast_unsigned();
        let layout = HistogramLayout::Explicit { bounds: [0.005, 0.1, 2.5].into() };
        let point = histogram(layout, &[n, 2 * n + 1, 3, 1 << 36], (f64::NAN, f64::NAN));
        push_histogram(&mut batch, &explicit, NOON - SECOND, time, point);
        let layout = HistogramLayout::Exponential {
            scale: if at < 5 { 3 } else { -1 },
            zero_threshold: if at < 5 { 0.0 } else { 1e-9 },
            positive_offset: -4,
            positive_len: 3,
            negative_offset: 2,
        };
        let point = HistogramPoint {
            zero_count: n % 3,
            count: 8 + n + n % 3,
            ..histogram(layout, &[n, 0, 5, 1, 2], (-8.5, if at == 3 { f64::NAN } else { 12.25 }))
        };
        push_histogram(&mut batch, &exponential, time - 15 * SECOND, time, point);
    }
    push_exemplar(&mut batch, &explicit, NOON + 1, vec![KeyValue::new("user", "Ada"), KeyValue::new("try", 2)]);
    push_exemplar(&mut batch, &counter, NOON + 2 * SECOND, Vec::new());
    batch
}

fn histogram(layout: HistogramLayout, counts: &[u64], (min, max): (f64, f64)) -> HistogramPoint {
    let count = counts.iter().sum();
    let marks = HistogramMarks::default();
    HistogramPoint { count, sum: count as f64 / 16.0, min, max, zero_count: 0, layout, counts: counts.into(), marks }
}

/// With attributes of every type, in resource, scope and point.
fn attributed(name: &str, kind: MetricKind, temporality: Temporality) -> Arc<SeriesIdentity> {
    let odd = [
        KeyValue::new("text", "a\"b\\c\nd é"),
        KeyValue::new("yes", true),
        KeyValue::new("whole", -42),
        KeyValue::new("part", 0.1),
        KeyValue::new("nan", f64::NAN),
        KeyValue::new("raw", Value::Bytes([0, 255, 7].into())),
        KeyValue::new("many", Value::Array([Value::Int(1), "two".into(), Value::Empty].into())),
        KeyValue::new("none", Value::Empty),
    ];
    let attributes: Attributes = odd.into_iter().collect();
    let mut resource = attributes.iter().cloned().collect::<Vec<_>>();
    resource.push(KeyValue::new("service.name", "shop"));
    Arc::new(SeriesIdentity::new(SeriesParts {
        name: name.into(),
        unit: "s".into(),
        kind,
        temporality,
        resource: Arc::new(Resource { attributes: resource.into_iter().collect() }),
        scope: Arc::new(Scope { name: "lib".into(), version: "1.2".into(), attributes: attributes.clone() }),
        attributes,
    }))
}

fn registry() -> Arc<SeriesRegistry> {
    Arc::new(SeriesRegistry::new(Promotion::default()))
}

fn write(root: &Path) -> PartEntry {
    let registry = registry();
    let memtable = memtable(&registry, &[golden_batch()]);
    let [entry] = <[PartEntry; 1]>::try_from(write_parts(root, &memtable, &mut || "golden".to_owned()).unwrap())
        .expect("all of it is one day");
    entry
}

/// The part in the tree, with what the manifest knew of it.
fn kept() -> PartEntry {
    let path = golden_dir().join("entry.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::remove_dir_all(golden_dir()).ok();
        std::fs::create_dir_all(golden_dir()).unwrap();
        let entry = write(&golden_dir());
        std::fs::write(&path, serde_json::to_string_pretty(&entry).unwrap() + "\n").unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn rows(dir: &Path, table: &str) -> RecordBatch {
    let file = File::open(dir.join(format!("{table}.parquet"))).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// One test, so that `UPDATE=1` writes before anything reads.
#[test]
fn a_part_of_the_first_version_stays_readable_and_todays_has_its_columns() {
    let entry = kept();
    let registry = registry();
    let part = MetricPart::new(Part::new(&golden_dir(), entry.clone()), Arc::clone(&registry));
    let expected = answer(&Partition::of_memtable(&memtable(&registry, &[golden_batch()])).collect::<Vec<_>>());
    assert_eq!(expected.len(), 7);
    assert_eq!(answer(&partitions(&[part])), expected, "read today");

    let root = tempfile::tempdir().unwrap();
    let today = write(root.path());
    let known = |entry: &PartEntry| PartEntry { bytes: 0, files: Vec::new(), ..entry.clone() };
    assert_eq!(known(&today), known(&entry), "what the manifest knows of it");
    for table in TABLES {
        let (old, new) = (rows(&golden_dir().join(&entry.path), table), rows(&root.path().join(&today.path), table));
        for field in old.schema().fields() {
            let name = field.name();
            let column = |batch: &RecordBatch| -> ArrayRef { Arc::clone(batch.column_by_name(name).expect(name)) };
            let schema = new.schema();
            let today = schema.field_with_name(name).unwrap_or_else(|_| panic!("{table}.{name} is gone"));
            assert_eq!((today.data_type(), today.is_nullable()), (field.data_type(), field.is_nullable()), "{name}");
            assert_eq!(format!("{:?}", column(&new)), format!("{:?}", column(&old)), "{table}.{name}");
        }
        for field in new.schema().fields().iter().filter(|field| old.column_by_name(field.name()).is_none()) {
            assert!(field.is_nullable(), "{table}.{} is new, so old files have none", field.name());
        }
        assert_eq!(rows(&root.path().join(&today.path), table).num_columns(), schema_of(table).fields().len());
    }
}

fn schema_of(table: &str) -> arrow::datatypes::SchemaRef {
    match table {
        "series" => columns::series(),
        "timelines" => columns::timelines(),
        "samples" => columns::samples(),
        "histograms" => columns::histograms(),
        _ => columns::exemplars(),
    }
}
