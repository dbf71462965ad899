//! Targets on real sockets, served by a small HTTP server that shows what it was asked.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_proto::batch::STALE_NAN_BITS;
use weir_proto::config::ConfigFile;
use weir_proto::{Batch, MetricBatch};

use super::*;

/// A target whose answer tests change.
struct Exposed {
    address: SocketAddr,
    page: Arc<Mutex<String>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Exposed {
    async fn start(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exposed =
            Self { address, page: Arc::new(Mutex::new(page.to_owned())), requests: Arc::new(Mutex::default()) };
        let (page, requests) = (Arc::clone(&exposed.page), Arc::clone(&exposed.requests));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 16 << 10];
                let read = connection.read(&mut request).await.unwrap();
                requests.lock().unwrap().push(String::from_utf8_lossy(&request[..read]).to_lowercase());
                let page = page.lock().unwrap().clone();
                let status = if page == "down" { "503 Service Unavailable" } else { "200 OK" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                    page.len()
                );
                connection.write_all(answer.as_bytes()).await.ok();
            }
        });
        tasks.detach_all();
        exposed
    }

    fn show(&self, page: &str) {
        *self.page.lock().unwrap() = page.to_owned();
    }
}

fn settings(yaml: &str) -> ScrapeSettings {
    let file = ConfigFile::parse(yaml, |_| None).unwrap();
    ScrapeSettings::from_config(&file.scrape_configs, &file.global.external_labels, "node-1").unwrap()
}

fn job(address: SocketAddr, more: &str) -> ScrapeSettings {
    settings(&format!(
        "scrape_configs:\n- job_name: test\n  scrape_interval: 100ms\n  scrape_timeout: 80ms\n  static_configs:\n  - targets: ['{address}']\n    labels: {{env: prod}}\n{more}"
    ))
}

fn start(settings: &ScrapeSettings) -> (mpsc::Receiver<Batch>, CancellationToken, JoinSet<()>) {
    let (batches, stop, tasks, _) = start_reloadable(settings);
    (batches, stop, tasks)
}

fn start_reloadable(
    settings: &ScrapeSettings,
) -> (mpsc::Receiver<Batch>, CancellationToken, JoinSet<()>, ScrapeHandle) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let (intake, batches) = Intake::for_tests();
    let (handle, scraper) = Scraper::new(settings, intake).unwrap();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(scraper.run(stop.clone()));
    (batches, stop, tasks, handle)
}

/// `name{label="value"} value`, sorted; a stale marker is `stale`, times and durations are left out.
fn shown(batch: &MetricBatch) -> Vec<String> {
    let rows = 0..batch.numbers.series.len();
    let mut lines: Vec<String> = rows
        .map(|row| {
            let series = &batch.series[batch.numbers.series[row] as usize];
            let labels: Vec<_> =
                series.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value.as_str().unwrap())).collect();
            let value = batch.numbers.value[row];
            let value = match &*series.name {
                _ if value.to_bits() == STALE_NAN_BITS => "stale".to_owned(),
                "scrape_duration_seconds" => "some".to_owned(),
                _ => value.to_string(),
            };
            format!("{}{{{}}} {value}", series.name, labels.join(","))
        })
        .collect();
    lines.sort();
    lines
}

fn own(up: &str, scraped: &str, kept: &str, added: &str) -> Vec<String> {
    vec![
        "scrape_duration_seconds{env=prod} some".to_owned(),
        format!("scrape_samples_post_metric_relabeling{{env=prod}} {kept}"),
        format!("scrape_samples_scraped{{env=prod}} {scraped}"),
        format!("scrape_series_added{{env=prod}} {added}"),
        format!("up{{env=prod}} {up}"),
    ]
}

fn with_own(lines: &[&str], mut own: Vec<String>) -> Vec<String> {
    own.extend(lines.iter().map(ToString::to_string));
    own.sort();
    own
}

#[tokio::test]
async fn a_target_is_scraped_on_its_beat_and_series_end_when_it_goes_down_and_when_we_stop() {
    let exposed = Exposed::start("# TYPE a counter\na 1\nb{x=\"y\"} 2\n").await;
    let (mut batches, stop, mut tasks) = start(&job(exposed.address, ""));
    let first = batches.recv().await.unwrap().metrics;
    assert_eq!(shown(&first), with_own(&["a{env=prod} 1", "b{env=prod,x=y} 2"], own("1", "2", "2", "2")));
    let resource = &first.series[0].resource.attributes;
    assert_eq!(resource.find("service.name").unwrap().as_str(), Some("test"));
    assert_eq!(resource.find("service.instance.id").unwrap().as_str(), Some(exposed.address.to_string().as_str()));
    let second = batches.recv().await.unwrap().metrics;
    assert!(shown(&second).contains(&"scrape_series_added{env=prod} 0".to_owned()));
    // Each may come late on a busy machine, but four beats are not three.
    let mut last = second.numbers.time_ns[0];
    for _ in 0..3 {
        last = batches.recv().await.unwrap().metrics.numbers.time_ns[0];
    }
    let beats = last - first.numbers.time_ns[0];
    assert!(beats >= 300_000_000, "{beats}");
    assert_eq!(second.numbers.time_ns[0] % 1_000_000, 0);
    {
        let requests = exposed.requests.lock().unwrap();
        assert!(requests[0].starts_with("get /metrics http/1.1"));
        assert!(requests[0].contains("user-agent: weir/"), "{}", requests[0]);
        assert!(requests[0].contains("accept: application/openmetrics-text;version=1.0.0;q=0.6"));
        assert!(requests[0].contains("accept-encoding: gzip"));
        assert!(requests[0].contains("x-prometheus-scrape-timeout-seconds: 0.08"));
    }
    exposed.show("down");
    let down = loop {
        let batch = batches.recv().await.unwrap().metrics;
        if shown(&batch).contains(&"up{env=prod} 0".to_owned()) {
            break batch;
        }
    };
    assert_eq!(shown(&down), with_own(&["a{env=prod} stale", "b{env=prod,x=y} stale"], own("0", "0", "0", "0")));
    exposed.show("a 5\n");
    while !shown(&batches.recv().await.unwrap().metrics).contains(&"up{env=prod} 1".to_owned()) {}
    stop.cancel();
    let mut last = Vec::new();
    while let Some(batch) = batches.recv().await {
        last = shown(&batch.metrics);
    }
    tasks.join_next().await.unwrap().unwrap();
    let ends = ["a", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling", "scrape_samples_scraped"];
    let mut ends: Vec<_> = ends.map(|name| format!("{name}{{env=prod}} stale")).to_vec();
    ends.extend(["scrape_series_added{env=prod} stale".to_owned(), "up{env=prod} stale".to_owned()]);
    assert_eq!(last, ends);
}

#[tokio::test]
async fn limits_and_wrong_pages_fail_the_scrape() {
    for (page, more) in
        [("a 1\nb 2\nc 3\n", "  sample_limit: 2\n"), ("a 1\nb 2\nc 3\n", "  body_size_limit: 4B\n"), ("a 1\n{{{\n", "")]
    {
        let exposed = Exposed::start(page).await;
        let (mut batches, _stop, _tasks) = start(&job(exposed.address, more));
        let batch = batches.recv().await.unwrap().metrics;
        assert_eq!(shown(&batch), own("0", "0", "0", "0"), "{more}");
    }
}

#[tokio::test]
async fn samples_are_relabelled_and_secrets_are_sent() {
    let exposed = Exposed::start("keep_me{a=\"1\"} 1\ndrop_me 2\n").await;
    let more = "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'drop_.*', action: drop}\n  - {regex: a, action: labeldrop}\n  authorization: {credentials: s3cret}\n";
    let (mut batches, _stop, _tasks) = start(&job(exposed.address, more));
    let batch = batches.recv().await.unwrap().metrics;
    assert_eq!(shown(&batch), with_own(&["keep_me{env=prod} 1"], own("1", "2", "1", "1")));
    assert!(exposed.requests.lock().unwrap()[0].contains("authorization: bearer s3cret"));
}

#[test]
fn targets_are_made_as_prometheus_makes_them() {
    let settings = settings(
        "global: {scrape_interval: 30s, external_labels: {cluster: c1, env: outer}}
scrape_configs:
- job_name: probe
  metrics_path: probe
  scheme: https
  params: {module: [http_2xx, second], other: [x]}
  static_configs:
  - targets: ['a:1', 'b:2', 'b:2', 'c:3']
    labels: {env: inner}
  relabel_configs:
  - {source_labels: [__address__], target_label: __param_target}
  - {source_labels: [__param_target], target_label: instance}
  - {target_label: __address__, replacement: 'exporter:9115'}
  - {source_labels: [instance], regex: 'c:3', action: drop}
  - {source_labels: [instance], regex: 'b:2', target_label: __param_module, replacement: icmp}
  - {source_labels: [__param_other], target_label: job, regex: x, replacement: renamed}
",
    );
    let targets = &settings.jobs[0].targets;
    let urls: Vec<_> = targets.iter().map(|target| target.url.as_str()).collect();
    assert_eq!(
        urls,
        [
            "https://exporter:9115/probe?module=http_2xx&module=second&other=x&target=a%3A1",
            "https://exporter:9115/probe?module=icmp&module=second&other=x&target=b%3A2"
        ],
        "the double is one target, and c is dropped"
    );
    let of = |key: &str| targets[0].resource.attributes.find(key).unwrap().as_str().unwrap().to_owned();
    assert_eq!((of("service.name"), of("service.instance.id")), ("renamed".into(), "a:1".into()));
    let labels: Vec<_> = targets[0].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["cluster=c1", "env=inner"], "external labels do not win");
    assert_eq!((targets[0].interval.as_secs(), targets[0].timeout.as_secs()), (30, 10));
}

#[test]
fn a_wrong_target_is_named_with_its_job() {
    let file = ConfigFile::parse(
        "scrape_configs:\n- job_name: web\n  static_configs:\n  - targets: ['http://host:80/metrics']\n",
        |_| None,
    )
    .unwrap();
    let error = ScrapeSettings::from_config(&file.scrape_configs, &file.global.external_labels, "n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "scrape_configs: job \"web\": target \"http://host:80/metrics\": is not a host:port; the path goes to metrics_path, the scheme to scheme"
    );
}

#[tokio::test]
async fn a_reload_keeps_what_stays_and_ends_what_goes() {
    let exposed = Exposed::start("a 1\n").await;
    let (mut batches, _stop, _tasks, handle) = start_reloadable(&job(exposed.address, ""));
    batches.recv().await.unwrap();
    // The same target with other credentials: not a series ends or begins.
    handle.reload(&job(exposed.address, "  authorization: {credentials: new}\n")).await.unwrap();
    loop {
        let batch = batches.recv().await.unwrap().metrics;
        assert!(!shown(&batch).iter().any(|line| line.ends_with("stale")), "{:?}", shown(&batch));
        let asked = exposed.requests.lock().unwrap().last().unwrap().clone();
        if asked.contains("bearer new") {
            assert!(shown(&batch).contains(&"scrape_series_added{env=prod} 0".to_owned()));
            break;
        }
    }
    handle.reload(&ScrapeSettings::default()).await.unwrap();
    loop {
        let ends = shown(&batches.recv().await.unwrap().metrics);
        if ends.contains(&"up{env=prod} stale".to_owned()) {
            assert!(ends.contains(&"a{env=prod} stale".to_owned()));
            break;
        }
    }
    let asked = exposed.requests.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(exposed.requests.lock().unwrap().len(), asked, "it is asked no more");
}
